"""What deploy/ says, against Kubernetes' models and a real process started with its arguments."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import grpc
import kubernetes.client
import numpy as np
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as protocol
from tritonclient.grpc import service_pb2_grpc

from meanet_jax.commands.app import parser_of
from meanet_jax.commands.cluster import read_cluster
from tests.cloud.asking import image_request, infer, output
from tests.cloud.certificates import write_certificate
from tests.servers import READY, ROOT, CloudServer, cloud_server_process

IMAGE = np.zeros((1, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
  return yaml.safe_load((ROOT / "deploy/inferenceservice.yaml").read_text())


@pytest.fixture(scope="module")
def pod(manifest) -> dict[str, Any]:
  """The predictor without what KServe adds to a pod's specification."""
  added = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}
  return {name: value for name, value in manifest["spec"]["predictor"].items() if name not in added}


@pytest.fixture(scope="module")
def container(pod) -> dict[str, Any]:
  (container,) = pod["containers"]
  return container


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """Stands for /mnt in the pod."""
  directory = tmp_path_factory.mktemp("mnt")
  write_certificate(directory / "tls")
  (directory / "token").mkdir()
  (directory / "token/token").write_text("s3cret")
  return directory


@pytest.fixture(scope="module")
def server(container, mounted, finished_run):
  """The process that the pod runs, on 127.0.0.1 of this machine."""
  local = {
    "--host=0.0.0.0": "--host=127.0.0.1",
    "--grpc-port=8081": "--grpc-port=0",
    "--health-port=8083": "--health-port=0",
  }
  given = [local.get(argument, argument) for argument in container["args"]]
  assert "--workdir=/mnt/run" in given
  given.remove("--workdir=/mnt/run")
  arguments = [argument.replace("/mnt/", f"{mounted}/") for argument in given]
  with cloud_server_process(finished_run.path, *arguments) as server:
    yield server


@pytest.fixture(scope="module")
def certificate(mounted) -> Path:
  return mounted / "tls/tls.crt"


def known(value: Any, type_name: str) -> None:
  """Every field is one of Kubernetes' model of it, and has the type that the model says."""
  listed = re.fullmatch(r"list\[(.+)\]", type_name)
  mapped = re.fullmatch(r"dict[\[(](\w+), (.+)[\])]", type_name)
  if listed:
    assert isinstance(value, list), (value, type_name)
    for item in value:
      known(item, listed[1])
  elif mapped:
    assert isinstance(value, dict), (value, type_name)
    for item in value.values():
      known(item, mapped[2])
  elif hasattr(kubernetes.client, type_name):
    model = getattr(kubernetes.client, type_name)
    fields = {json_name: name for name, json_name in model.attribute_map.items()}
    assert set(value) <= set(fields), type_name
    for name, item in value.items():
      known(item, model.openapi_types[fields[name]])
  else:
    types = {"str": str, "int": int, "bool": bool, "object": (str, int)}
    assert isinstance(value, types[type_name]), (value, type_name)


def test_the_pod_is_one_of_kubernetes(pod):
  known(pod, "V1PodSpec")
  with pytest.raises(AssertionError):
    known(pod | {"container": []}, "V1PodSpec")


def test_the_service_is_one_of_kserves(manifest):
  assert manifest["apiVersion"] == "serving.kserve.io/v1beta1"
  assert manifest["kind"] == "InferenceService"
  annotations = manifest["metadata"]["annotations"]
  assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
  assert annotations["serving.kserve.io/autoscalerClass"] == "hpa"
  predictor = manifest["spec"]["predictor"]
  assert 1 <= predictor["minReplicas"] < predictor["maxReplicas"]
  assert predictor["scaleMetric"] == "cpu"
  assert 0 < predictor["scaleTarget"] <= 100


def test_what_the_container_names_exists(pod, container):
  volumes = {volume["name"] for volume in pod["volumes"]}
  mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
  assert set(mounts) == volumes
  for path in re.findall(r"=(/\S+)", " ".join(container["args"])):
    assert any(path == root or path.startswith(f"{root}/") for root in mounts.values()), path
  ports = {port["containerPort"] for port in container["ports"]}
  assert ports == {8081}
  for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
    assert f"--health-port={container[probe]['grpc']['port']}" in container["args"]
  assert set(container["resources"]) == {"requests", "limits"}
  # Kubernetes kills after the grace period, of which the pause before the end takes a part.
  grace = int(re.search(r"--grace-seconds=(\d+)", " ".join(container["args"]))[1])
  pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
  assert pod["terminationGracePeriodSeconds"] > grace + pause


@pytest.fixture(scope="module")
def training() -> tuple[dict[str, Any], dict[str, Any]]:
  """The Service and the Job of training on several hosts."""
  service, job = yaml.safe_load_all((ROOT / "deploy/train.yaml").read_text())
  assert [(part["apiVersion"], part["kind"]) for part in (service, job)] == [
    ("v1", "Service"),
    ("batch/v1", "Job"),
  ]
  return service, job


def test_the_training_job_is_one_of_kubernetes(training):
  service, job = training
  known(service["spec"], "V1ServiceSpec")
  known(job["spec"], "V1JobSpec")


def test_the_training_pods_meet_by_the_flags(training):
  """Every process has its own number, and the address of the first is its pod's name."""
  service, job = training
  name, spec = job["metadata"]["name"], job["spec"]
  pod = spec["template"]["spec"]
  (container,) = pod["containers"]
  assert spec["completionMode"] == "Indexed"  # gives pods the host names NAME-0, NAME-1, ...
  assert spec["completions"] == spec["parallelism"] > 1
  assert pod["subdomain"] == service["metadata"]["name"]
  assert service["spec"]["clusterIP"] == "None"
  assert service["spec"]["publishNotReadyAddresses"]
  assert service["spec"]["selector"] == {"job-name": name}  # a label of every pod of a job
  index = {variable["name"]: variable.get("valueFrom") for variable in container["env"]}
  path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
  assert index["PROCESS_ID"] == {"fieldRef": {"fieldPath": path}}
  assert container["command"] == ["meanet", "train"]
  parser = parser_of("train")
  for process in range(spec["completions"]):
    arguments = [item.replace("$(PROCESS_ID)", str(process)) for item in container["args"]]
    cluster = read_cluster(parser.parse(arguments))
    assert cluster is not None
    assert cluster.process_id == process
    assert cluster.num_processes == spec["completions"]
    port = service["spec"]["ports"][0]["port"]
    assert cluster.coordinator == f"{name}-0.{pod['subdomain']}:{port}"
  mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
  assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
  for found in re.findall(r"=(/\S+)", " ".join(container["args"])):
    assert any(found.startswith(f"{root}/") or found == root for root in mounts.values()), found


def test_the_images_entry_point_is_the_command():
  lines = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ").splitlines()
  steps = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
  entry = next(rest for name, rest in steps if name == "ENTRYPOINT")
  assert json.loads(entry) == ["meanet", "cloud"]
  for name, rest in steps:
    if name == "COPY":
      for source in shlex.split(rest)[:-1]:
        assert (ROOT / source).exists(), source
  assert steps[0][0] == "FROM"
  users = [rest for name, rest in steps if name == "USER"]
  assert users == ["65534:65534"]


def test_probes_need_neither_tls_nor_a_token_and_get_nothing_else(server: CloudServer):
  with grpc.insecure_channel(f"127.0.0.1:{server.health_port}") as channel:
    check = health_pb2_grpc.HealthStub(channel).Check
    answer = check(health_pb2.HealthCheckRequest(), timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
      infer(channel, image_request(IMAGE), metadata=[("authorization", "Bearer s3cret")])
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_everything_but_liveness_readiness_and_health_needs_the_token(
  server: CloudServer, certificate
):
  credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
  with grpc.secure_channel(f"127.0.0.1:{server.grpc_port}", credentials) as channel:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    assert stub.ServerLive(protocol.ServerLiveRequest(), timeout=60).live
    assert stub.ServerReady(protocol.ServerReadyRequest(), timeout=60).ready
    check = health_pb2_grpc.HealthStub(channel).Check
    assert check(health_pb2.HealthCheckRequest(), timeout=60).status
    for call, request in (
      (stub.ServerMetadata, protocol.ServerMetadataRequest()),
      (stub.ModelReady, protocol.ModelReadyRequest(name="cloud")),
      (stub.ModelMetadata, protocol.ModelMetadataRequest(name="cloud")),
      (stub.ModelInfer, image_request(IMAGE)),
    ):
      for wrong in (None, "s3cret", "Bearer s3cre", "Bearer s3crett", "Basic s3cret", "Bearer", ""):
        metadata = None if wrong is None else [("authorization", wrong)]
        with pytest.raises(grpc.RpcError) as caught:
          call(request, metadata=metadata, timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert caught.value.details() == "the bearer token is missing or wrong"
      for right in ("Bearer s3cret", "bearer s3cret", "BEARER  s3cret"):
        call(request, metadata=[("authorization", right)], timeout=60)
    answer = infer(channel, image_request(IMAGE), metadata=[("authorization", "Bearer s3cret")])
    assert output(answer, "logits").shape == (1, 10)


def test_nobody_is_served_without_tls(server: CloudServer):
  with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
    with pytest.raises(grpc.RpcError) as caught:
      infer(channel, image_request(IMAGE), metadata=[("authorization", "Bearer s3cret")])
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
  # A client that does not trust the certificate.
  with grpc.secure_channel(
    f"127.0.0.1:{server.grpc_port}", grpc.ssl_channel_credentials()
  ) as other:
    with pytest.raises(grpc.RpcError) as caught:
      infer(other, image_request(IMAGE))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
  # And nobody can fill the log.
  assert READY.search(server.output[-1])
