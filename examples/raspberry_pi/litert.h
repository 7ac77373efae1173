// What meanet_edge.cpp uses of the C interface of LiteRT 2 (libLiteRt.so). The wheel ai-edge-litert
// has the library but no headers; with LiteRT's own headers, include litert/c/*.h in place of this.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {
using Handle = void*;                        // all of LiteRT's objects are opaque pointers
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
