// The signatures of a TF Lite file, on the C interface of LiteRT 2 (libLiteRt.so), one call each. The
// wheel ai-edge-litert has the library but no headers, so the functions used are declared here; with
// LiteRT's own headers, include litert/c/*.h in place of the declarations. What is created here
// lives as long as the process.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

using Bytes = std::vector<std::uint8_t>;
using Buffers = std::map<std::string, Bytes>;

extern "C" {
using Handle = void*;  // all of LiteRT's objects are opaque pointers
struct TensorType { std::int32_t part[18]; };  // LiteRtRankedTensorType: only handed on
enum Lock { kRead = 0, kWrite = 1 };

int LiteRtCreateEnvironment(int num_options, const void* options, Handle* environment);
int LiteRtCreateModelFromFile(Handle environment, const char* path, Handle* model);
int LiteRtCreateOptions(Handle* options);
int LiteRtSetOptionsHardwareAccelerators(Handle options, int accelerators);  // 1: CPU
int LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle* compiled);
int LiteRtRunCompiledModel(Handle compiled, std::size_t signature, std::size_t num_inputs,
                           Handle* inputs, std::size_t num_outputs, Handle* outputs);
int LiteRtGetNumModelSignatures(Handle model, std::size_t* count);
int LiteRtGetModelSignature(Handle model, std::size_t index, Handle* signature);
int LiteRtGetSignatureKey(Handle signature, const char** key);
int LiteRtGetNumSignatureInputs(Handle signature, std::size_t* count);
int LiteRtGetNumSignatureOutputs(Handle signature, std::size_t* count);
int LiteRtGetSignatureInputName(Handle signature, std::size_t index, const char** name);
int LiteRtGetSignatureOutputName(Handle signature, std::size_t index, const char** name);
int LiteRtGetSignatureInputTensorByIndex(Handle signature, std::size_t index, Handle* tensor);
int LiteRtGetSignatureOutputTensorByIndex(Handle signature, std::size_t index, Handle* tensor);
int LiteRtGetRankedTensorType(Handle tensor, TensorType* type);
int LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, std::size_t signature,
                                                  std::size_t index, Handle* requirements);
int LiteRtGetCompiledModelOutputBufferRequirements(Handle compiled, std::size_t signature,
                                                   std::size_t index, Handle* requirements);
int LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const TensorType* type,
                                                    Handle requirements, Handle* buffer);
int LiteRtGetTensorBufferPackedSize(Handle buffer, std::size_t* bytes);
int LiteRtLockTensorBuffer(Handle buffer, void** memory, Lock mode);
int LiteRtUnlockTensorBuffer(Handle buffer);
}

inline void must(int status, const char* what) {
  std::string code = std::to_string(status);
  if (status) throw std::runtime_error(std::string(what) + ": LiteRT status " + code);
}

// One signature of a file: buffers by name.
struct Signature {
  Handle compiled;
  std::size_t index;
  std::vector<std::string> input_names, output_names;
  std::vector<Handle> inputs, outputs;

  Signature(Handle environment, Handle model, Handle compiled, std::size_t index)
      : compiled(compiled), index(index) {
    Handle signature;
    must(LiteRtGetModelSignature(model, index, &signature), "signature");
    std::size_t count;
    auto add = [&](bool input, std::size_t place) {
      const char* name;
      Handle tensor, needs, buffer;
      TensorType type;
      must((input ? LiteRtGetSignatureInputName : LiteRtGetSignatureOutputName)(
               signature, place, &name), "name");
      must((input ? LiteRtGetSignatureInputTensorByIndex : LiteRtGetSignatureOutputTensorByIndex)(
               signature, place, &tensor), "tensor");
      must((input ? LiteRtGetCompiledModelInputBufferRequirements
                  : LiteRtGetCompiledModelOutputBufferRequirements)(
               compiled, index, place, &needs), "buffer");
      must(LiteRtGetRankedTensorType(tensor, &type), "type");
      must(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, &buffer),
           "buffer");
      (input ? input_names : output_names).push_back(name);
      (input ? inputs : outputs).push_back(buffer);
    };
    must(LiteRtGetNumSignatureInputs(signature, &count), "inputs");
    for (std::size_t place = 0; place < count; ++place) add(true, place);
    must(LiteRtGetNumSignatureOutputs(signature, &count), "outputs");
    for (std::size_t place = 0; place < count; ++place) add(false, place);
  }

  Buffers run(const Buffers& given) {
    void* memory;
    std::size_t size;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Bytes& bytes = given.at(input_names[i]);
      must(LiteRtGetTensorBufferPackedSize(inputs[i], &size), "size");
      if (bytes.size() != size)
        throw std::runtime_error(input_names[i] + " has " + std::to_string(bytes.size()) +
                                 " bytes; accepted: " + std::to_string(size));
      must(LiteRtLockTensorBuffer(inputs[i], &memory, kWrite), "lock");
      std::memcpy(memory, bytes.data(), bytes.size());
      must(LiteRtUnlockTensorBuffer(inputs[i]), "unlock");
    }
    must(LiteRtRunCompiledModel(compiled, index, inputs.size(), inputs.data(), outputs.size(),
                                outputs.data()), "run");
    Buffers found;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      must(LiteRtGetTensorBufferPackedSize(outputs[i], &size), "size");
      must(LiteRtLockTensorBuffer(outputs[i], &memory, kRead), "lock");
      found[output_names[i]].assign(static_cast<Bytes::value_type*>(memory),
                                    static_cast<Bytes::value_type*>(memory) + size);
      must(LiteRtUnlockTensorBuffer(outputs[i]), "unlock");
    }
    return found;
  }
};

// A file and its signatures by name.
class Model {
 public:
  explicit Model(const std::string& path) {
    Handle environment, model, options, compiled, signature;
    std::size_t count;
    const char* name;
    must(LiteRtCreateEnvironment(0, nullptr, &environment), "environment");
    must(LiteRtCreateModelFromFile(environment, path.c_str(), &model), path.c_str());
    must(LiteRtCreateOptions(&options), "options");
    must(LiteRtSetOptionsHardwareAccelerators(options, 1), "options");
    must(LiteRtCreateCompiledModel(environment, model, options, &compiled), path.c_str());
    must(LiteRtGetNumModelSignatures(model, &count), "signatures");
    for (std::size_t index = 0; index < count; ++index) {
      must(LiteRtGetModelSignature(model, index, &signature), "signature");
      must(LiteRtGetSignatureKey(signature, &name), "signature");
      signatures_.emplace(name, Signature(environment, model, compiled, index));
    }
  }

  Buffers run(const std::string& signature, const Buffers& inputs) {
    return signatures_.at(signature).run(inputs);
  }

 private:
  std::map<std::string, Signature> signatures_;
};
