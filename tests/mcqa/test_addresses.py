"""Where the verbs find what they speak to: the decision as a table, and against real servers and processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from local.platform import listeners
from local.platform.settings import Folder, Ports, Settings
from mcqa import addresses, defaults, targets
from mcqa.addresses import DATABASE, EVENTS, GRPC, PIPELINES, QUESTIONS, AddressSource, Endpoint, resolve
from mcqa.errors import CommandError, LoopNotRunningError
from mcqa.verbs import app

ROOT = Path(__file__).resolve().parents[2]
QUESTION = ("What does len([1, 2, 3]) return?", "-c", "2", "-c", "[3]", "-c", "an error")
HERE, MINE, OTHER = Path("/checkout/.local"), Path("/mine"), Path("/other")
UP = {HERE: "http://here", MINE: "http://mine", OTHER: "http://other"}


@dataclass(frozen=True)
class Case:
    expected: tuple[str | None, AddressSource]
    flag: str | None = None
    directory: Path | None = None
    environ: Mapping[str, str] = ()  # type: ignore[assignment]
    down: tuple[Path, ...] = ()
    endpoint: Endpoint = QUESTIONS


CASES = {
    "nothing said, the checkout's loop": Case(("http://here", AddressSource.LOOP)),
    "nothing said, no loop": Case((defaults.URL, AddressSource.DEFAULT), down=(HERE,)),
    "nothing said, no loop, gRPC": Case((defaults.GRPC_TARGET, AddressSource.DEFAULT), down=(HERE,), endpoint=GRPC),
    "nothing said, no loop, events": Case((None, AddressSource.DEFAULT), down=(HERE,), endpoint=EVENTS),
    "a flag": Case(("http://flag", AddressSource.FLAG), flag="http://flag"),
    "a flag before the environment": Case(
        ("http://flag", AddressSource.FLAG),
        flag="http://flag",
        environ={"MCQA_URL": "http://env", "MCQA_LOCAL_DIR": "/mine"},
    ),
    "--dir": Case(("http://mine", AddressSource.LOOP), directory=MINE),
    "--dir before the environment": Case(
        ("http://mine", AddressSource.LOOP),
        directory=MINE,
        environ={"MCQA_URL": "http://env", "MCQA_LOCAL_DIR": "/other"},
    ),
    "the environment's address": Case(("http://env", AddressSource.ENVIRONMENT), environ={"MCQA_URL": "http://env"}),
    "an address before a folder": Case(
        ("http://env", AddressSource.ENVIRONMENT), environ={"MCQA_URL": "http://env", "MCQA_LOCAL_DIR": "/mine"}
    ),
    "the environment's folder": Case(("http://mine", AddressSource.LOOP), environ={"MCQA_LOCAL_DIR": "/mine"}),
    "the environment's folder, not up: nobody else is asked": Case(
        (None, AddressSource.LOOP), environ={"MCQA_LOCAL_DIR": "/mine"}, down=(MINE,)
    ),
    "an empty variable says nothing": Case(
        ("http://here", AddressSource.LOOP), environ={"MCQA_URL": "", "MCQA_LOCAL_DIR": "", "K_SINK": ""}
    ),
    "another loop's broker, its gateway unknown": Case(
        (None, AddressSource.ENVIRONMENT), environ={"K_SINK": "http://b"}
    ),
    "another loop's database, its gateway unknown": Case(
        (None, AddressSource.ENVIRONMENT), environ={"MCQA_DATABASE_URL": "postgresql://b"}
    ),
    "another loop's gateway, its broker unknown": Case(
        (None, AddressSource.ENVIRONMENT), environ={"MCQA_URL": "http://env"}, endpoint=EVENTS
    ),
    "another loop's broker": Case(
        ("http://b", AddressSource.ENVIRONMENT),
        environ={"K_SINK": "http://b", "MCQA_URL": "http://env"},
        endpoint=EVENTS,
    ),
    "gRPC of the environment": Case(
        ("h:1", AddressSource.ENVIRONMENT), environ={"MCQA_GRPC_TARGET": "h:1", "MCQA_URL": "http://env"}, endpoint=GRPC
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_chosen(case: Case) -> None:
    up = {folder: address for folder, address in UP.items() if folder not in case.down}
    target = resolve(
        case.endpoint, up.get, flag=case.flag, directory=case.directory, environ=dict(case.environ), checkout=HERE
    )
    assert (target.address, target.source) == case.expected
    assert target.address or target.reason


@pytest.mark.parametrize("variable", addresses.LOOP_VARIABLES)
@pytest.mark.parametrize("endpoint", [QUESTIONS, EVENTS, GRPC, PIPELINES, DATABASE], ids=lambda item: item.name)
def test_one_question_and_its_feedback_never_go_to_two_loops(variable: str, endpoint: Endpoint) -> None:
    """Whatever part of another loop the environment names, nothing goes to this checkout's."""
    target = resolve(endpoint, UP.get, environ={variable: "http://env"}, checkout=HERE)
    assert target.source is AddressSource.ENVIRONMENT
    assert target.address in ("http://env", None)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(CommandError, match="give an address or --dir, not both"):
        resolve(QUESTIONS, UP.get, flag="http://flag", directory=MINE, environ={}, checkout=HERE)
    with pytest.raises(
        LoopNotRunningError, match="the loop in /nowhere is not running: start it with `mcqa up --dir /nowhere`"
    ):
        resolve(QUESTIONS, UP.get, directory=Path("/nowhere"), environ={}, checkout=HERE)


def mcqa(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(app, [*words], env={"COLUMNS": "200", **environ})


@contextmanager
def program(command: list[str], port: int, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on the port; `command` gets the port's number as its last argument."""
    process = subprocess.Popen([*command, str(port)], env={**os.environ, **environ})
    try:
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield process
    finally:
        process.kill()
        process.wait()


ANSWERS = """
import sys, json
from http.server import BaseHTTPRequestHandler, HTTPServer
class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        answer = {"letter": "A", "index": 0, "choice": "2", "probabilities": {"A": 1.0, "B": 0.0, "C": 0.0},
                  "confidence": 1.0, "margin": 1.0, "entropy": 0.0, "letter_mass": 1.0, "prompt_tokens": 1,
                  "model_version": "impostor"}
        body = json.dumps({"predictions": [answer]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[-1])), Model).serve_forever()
"""
"""A program that answers as a model server would."""
ANSWERING = [sys.executable, "-c", ANSWERS]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


linux = pytest.mark.skipif(not listeners.is_supported(), reason="who listens on a port can be read on Linux only")


@pytest.mark.usefixtures("processes")
@linux
def test_who_listens_is_told() -> None:
    ports = [free_port() for _ in range(4)]
    loop_like = {"EMBEDDED_POD": "broker-1", "KUBECONFIG": "/some/where/.local/kubeconfig"}
    server_like = [*ANSWERING, "predictor"]
    with (
        program(ANSWERING, ports[0]) as plain,
        program(ANSWERING, ports[1], **loop_like) as part,
        program(server_like, ports[2], MCQA_CHECKOUT="/some/checkout") as model,
    ):
        listening = listeners.find_listeners(ports)
        assert listening.keys() == set(ports[:3])
        unknown = listening[ports[0]]
        assert (unknown.pid, unknown.folder, unknown.checkout) == (plain.pid, None, None)
        assert str(listening[ports[1]]) == f"the loop in /some/where/.local (process {part.pid})"
        assert str(listening[ports[2]]) == f"a model server of /some/checkout (process {model.pid})"
        assert listeners.find_listeners(ports, [plain.pid])[ports[0]].pid == plain.pid
        assert [listeners.bind_problem(port) for port in ports] == ["is in use"] * 3 + [None]
    assert listeners.find_listeners(ports) == {}


@pytest.mark.usefixtures("processes")
@linux
def test_what_the_supervisor_started_is_the_loops_too(tmp_path: Path) -> None:
    port = free_port()
    starts = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[-1]])"
    supervisor = [sys.executable, "-c", starts, ANSWERS, "local.platform", "--dir", str(tmp_path)]
    with program(supervisor, port) as process:
        listening = listeners.find_listeners([port])[port]
        assert listening.pid != process.pid
        assert listening.folder == tmp_path
        os.kill(listening.pid, signal.SIGKILL)


@pytest.mark.usefixtures("processes")
def test_a_port_that_is_none_and_the_next_free_one() -> None:
    assert listeners.bind_problem(70_000) == "is not a port: 1 to 65535"
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        assert listeners.bind_problem(port) == "is in use"
        assert listeners.next_free_port(port) != port
        assert listeners.bind_problem(listeners.next_free_port(port)) is None


def test_no_port_is_offered_that_browsers_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "bind_problem", lambda port, host="": "is in use" if port == 5000 else None)
    assert listeners.next_free_port(5000) == 7000
    assert listeners.next_free_port(8080, {8080}) == 9080
    assert listeners.next_free_port(9080, {9080}) == 11080


@pytest.mark.usefixtures("processes")
@linux
def test_a_stranger_on_the_usual_port_is_never_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another program, or another checkout's server: it is named, and the question is answered in process."""
    port = free_port()
    monkeypatch.setattr(addresses, "QUESTIONS", Endpoint("questions", "MCQA_URL", f"http://127.0.0.1:{port}"))
    monkeypatch.setattr(targets, "FOLDER", tmp_path / "none")
    for command, environ, named in (
        (ANSWERING, {}, "python"),
        ([*ANSWERING, "predictor"], {"MCQA_CHECKOUT": "/another"}, "a model server of /another"),
    ):
        with program(command, port, **environ):
            result = mcqa("ask", *QUESTION, "--json", MCQA_LOCAL_DIR="")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["model_version"] == "tiny"
        assert f"http://127.0.0.1:{port} belongs to {named}" in result.stderr
        assert "not to this checkout: loading the shipped tiny model here" in result.stderr
    with program([*ANSWERING, "predictor"], port, MCQA_CHECKOUT=str(ROOT)):
        ours = mcqa("ask", *QUESTION, "--json", MCQA_LOCAL_DIR="")
    assert json.loads(ours.stdout)["model_version"] == "impostor"
    assert f"answered by v1 http://127.0.0.1:{port}, the server on `mcqa serve`'s port" in ours.stderr


@contextmanager
def a_loop(folder: Folder, ports: Ports, /, **status: Any) -> Iterator[None]:
    """A folder whose supervisor's lock is held, as by a loop that is up."""
    holder = """
import fcntl, os, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(str(os.getpid())); file.flush()
print("held", flush=True)
sys.stdin.read()
"""
    folder.make()
    (folder.path / "settings.json").write_text(json.dumps(asdict(Settings(ports))))
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(folder.path / "supervisor.lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    folder.status.write_text(json.dumps({"pid": process.pid, "folder": str(folder.path), **status}))
    try:
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("processes")
@linux
def test_the_loop_of_the_folder_answers_and_a_stranger_on_its_port_does_not(tmp_path: Path) -> None:
    folder, port = Folder(tmp_path / "loop"), free_port()
    part = {"EMBEDDED_POD": "gateway-1", "KUBECONFIG": str(folder.kubeconfig)}
    other = {**part, "KUBECONFIG": str(tmp_path / "other" / "kubeconfig")}
    with a_loop(folder, Ports(gateway=port)):
        for where in (("--dir", str(folder.path)), ()):
            named = {} if where else {"MCQA_LOCAL_DIR": str(folder.path)}
            with program(ANSWERING, port, **part):
                asked = mcqa("ask", *QUESTION, "--json", *where, **named)
            assert json.loads(asked.stdout)["model_version"] == "impostor", asked.stderr
            assert f"answered by v1 http://127.0.0.1:{port}, the loop in {folder.path}" in asked.stderr
            for environ, who in ((other, f"the loop in {tmp_path / 'other'} (process"), ({}, "python")):
                with program(ANSWERING, port, **environ):
                    refused = mcqa("ask", *QUESTION, "--json", *where, **named)
                assert refused.exit_code == 1
                assert f"port {port} of the loop in {folder.path} is no longer its own: {who}" in refused.stderr
        grpc = mcqa("ask", *QUESTION, "--protocol", "grpc", "--dir", str(folder.path))
        assert "speaks v1 and v2 over REST only" in grpc.stderr
        nobody = mcqa("ask", *QUESTION, "--dir", str(folder.path))
        assert nobody.exit_code == 1
        assert (
            f"the loop in {folder.path} did not answer at http://127.0.0.1:{port}: see `mcqa status`" in nobody.stderr
        )
        by_variable = mcqa("ask", *QUESTION, MCQA_URL=f"http://127.0.0.1:{port}")
        assert "(the address is from MCQA_URL)" in by_variable.stderr
    ended = mcqa("ask", *QUESTION, "--dir", str(folder.path))
    assert ended.exit_code == 1
    assert f"the loop in {folder.path} is not running" in ended.stderr


@pytest.mark.usefixtures("processes")
def test_feedback_goes_where_the_question_went(tmp_path: Path) -> None:
    paths: list[str] = []

    class Broker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Broker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sink = f"http://127.0.0.1:{server.server_port}/ns/other"
        named = mcqa("feedback", "id", "A", K_SINK=sink)
        half = mcqa("feedback", "id", "A", MCQA_URL="http://another.example")
        server.shutdown()
    assert paths == ["/ns/other"]
    assert "by K_SINK" in named.stdout
    assert half.exit_code == 1
    assert "MCQA_URL names another loop, but K_SINK is not set" in half.stderr


def test_another_loops_figures_are_not_mixed_with_this_ones(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "loop")
    folder.make()
    folder.environment.write_text(json.dumps({"KUBECONFIG": str(folder.kubeconfig)}))
    for words in (["drift", "status"], ["rollout", "status"], ["pipeline", "list"]):
        result = mcqa(*words, MCQA_URL="http://another.example", MCQA_LOCAL_DIR=str(folder.path))
        assert result.exit_code == 1
        assert "MCQA_URL names another loop, but " in result.stderr


MOVED = {"pid": 1, "folder": "/where/it/was/.local"}


@pytest.mark.usefixtures("processes")
def test_a_loop_that_was_moved_while_it_runs_says_what_to_do(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "loop")
    with a_loop(folder, Ports(), **MOVED):
        for words in (["ask", *QUESTION], ["status"], ["events"], ["up"], ["feedback", "id", "A"]):
            result = mcqa(*words, "--dir", str(folder.path))
            assert result.exit_code == 1, words
            assert "was moved here from /where/it/was/.local while running: `mcqa down --dir" in result.stderr


def test_a_loops_database_is_not_looked_for_where_the_folder_was(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "loop")
    folder.make()
    folder.environment.write_text(json.dumps({"KUBECONFIG": "/where/it/was/.local/kubeconfig"}))
    for words in (["drift", "status"], ["rollout", "status"], ["pipeline", "list"]):
        result = mcqa(*words, "--dir", str(folder.path))
        assert result.exit_code == 1
        assert "was moved here from /where/it/was/.local: `mcqa up`" in result.stderr


VERBS = (
    ["status"], ["events"], ["dead-letters", "list"], ["drift", "status"], ["rollout", "status"], ["rollout", "hold"],
    ["pipeline", "list"], ["pipeline", "run", "--reason", "x"], ["feedback", "id", "A"], ["ask", *QUESTION],
    ["evaluate", "--limit", "1"],
)  # fmt: skip


@pytest.mark.parametrize("words", VERBS, ids=lambda words: "-".join(words[:2]))
def test_every_verb_takes_the_folder_and_says_when_nothing_runs_there(tmp_path: Path, words: list[str]) -> None:
    result = mcqa(*words, "--dir", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert str(tmp_path / "none") in result.stderr
    assert "mcqa up" in result.stderr
