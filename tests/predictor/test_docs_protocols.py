"""docs/protocols.md: its commands run against a real server, and their output has the shape the page shows."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from tritonclient.grpc import service_pb2 as pb

from mcqa.event_stream import read_events
from tests.servers import ROOT, RunningServer

pytestmark = pytest.mark.usefixtures("processes")

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "protocols.md").read_text(), re.DOTALL)
PAIRS = [(code, shown) for (kind, code), (_, shown) in itertools.pairwise(BLOCKS) if kind in ("bash", "python")]
CURL = [pair for pair in PAIRS if pair[0].startswith(("curl", "printf"))]
PYTHON = [pair for pair in PAIRS if pair[0].startswith("import")]
GRPCURL = [code for code, _ in PAIRS if code.startswith("grpcurl")]


def shape(value: Any) -> Any:
    """The fields and types of a JSON value; model versions and letters are not ours to fix."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key != "revision"}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return float if type(value) is int else type(value)


def event_shapes(stream: str) -> dict[str, Any]:
    """Of the events of a stream by their names: how many pieces a text has depends on the version."""
    return {event.name: shape(json.loads(event.data)) for event in read_events([stream.encode(), b"\n"])}


def here(text: str, server: RunningServer) -> str:
    return text.replace("localhost:8090", f"127.0.0.1:{server.port}").replace("localhost:8091", server.grpc)


def test_the_page_has_examples_of_every_kind() -> None:
    assert (len(CURL), len(PYTHON), len(GRPCURL)) == (6, 2, 1)
    # `here` knows these; on any other port something else may answer.
    assert {port for code, _ in PAIRS for port in re.findall(r"localhost:(\d+)", code)} == {"8090", "8091"}


@pytest.mark.parametrize(("command", "shown"), CURL)
def test_curl(server: RunningServer, command: str, shown: str) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    printed = subprocess.run(["bash", "-c", here(command, server)], capture_output=True, text=True, check=True).stdout
    if shown.startswith("event: "):
        assert event_shapes(printed) == event_shapes(shown)
        return
    answer = json.loads(printed)
    if "parameters" in answer:  # the revision, which a local server does not have
        assert set(answer.pop("parameters")) == {"revision"}
    assert shape(answer) == shape(json.loads(shown))
    if "error" in answer:
        assert answer == json.loads(shown)


@pytest.mark.parametrize(("code", "shown"), PYTHON)
def test_python(server: RunningServer, code: str, shown: str) -> None:
    ended = subprocess.run([sys.executable, "-c", here(code, server)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    labels = [line.partition(":")[0] for line in ended.stdout.splitlines()]
    assert labels == [line.partition(":")[0] for line in shown.splitlines()]


@pytest.mark.parametrize("command", GRPCURL)
def test_the_message_grpcurl_would_send(server: RunningServer, command: str) -> None:
    message = json_format.Parse(shlex.split(command.replace("\\\n", " "))[5], pb.ModelInferRequest())
    with grpc.insecure_channel(server.grpc) as channel:
        answer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )(message, timeout=30)
    assert [output.name for output in answer.outputs] == ["letter", "confidence"]


def test_every_status_of_the_error_table_is_one_the_server_has() -> None:
    from predictor.serving import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RequestError)]
    table = (ROOT / "docs" / "protocols.md").read_text().partition("## Errors")[2].partition("## Headers")[0]
    statuses = {int(status) for status in re.findall(r"^\| (\d{3}) \|", table, re.MULTILINE)}
    assert statuses == {int(kind.status) for kind in kinds}
