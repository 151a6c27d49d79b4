"""`mcqa` in trouble: signals at any moment, streams that are closed, full or not UTF-8, faults of its own."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_process import (
    ROOT,
    SECONDS,
    Silent,
    ended,
    environment,
    on_terminal,
    prepare,
    run,
    silent,
    start,
)

pytestmark = pytest.mark.usefixtures("processes")

QUESTION = ("ask", "Q?", "-c", "x", "-c", "y")
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


@pytest.fixture
def server(processes: None) -> Iterator[Silent]:
    with silent() as made:
        yield made


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path / "no-loop")


# Ctrl-C and SIGTERM

MOMENTS = ["mcqa.stdio", "typer", "rich.console", "mcqa.ask", "mcqa.terminal", "mcqa.verbs"]


@pytest.mark.parametrize("module", MOMENTS)
def test_ctrl_c_while_a_module_is_imported_is_no_traceback(module: str, env: dict[str, str], server: Silent) -> None:
    process = start(*QUESTION, "--url", server.url, env=env, python=("-X", "importtime"))
    assert process.stderr is not None
    output = []
    for line in process.stderr:
        output.append(line)
        if line.split(b"|")[-1].strip().decode() == module:
            process.send_signal(signal.SIGINT)
            break
    else:
        pytest.fail(f"{module} was not imported")
    result = ended(process)
    assert b"Traceback" not in result.err
    assert result.code == 130, result.err[-2000:]


def test_ctrl_c_while_a_dataclass_is_made_is_no_death_by_signal(env: dict[str, str]) -> None:
    """CPython notes a KeyboardInterrupt that leaves `exec(text)`, whoever catches it later."""
    script = "import mcqa.verbs; mcqa.verbs.app = lambda **_: exec('raise KeyboardInterrupt')"
    module = Path(env["MCQA_LOCAL_DIR"]).parent / "sitecustomize.py"
    module.write_text(script)
    path = os.pathsep.join((str(module.parent), str(ROOT)))
    result = run(env={**env, "PYTHONPATH": path})
    assert (result.code, result.err) == (130, b"")


WAITING = {
    "an answer": [*QUESTION, "--url", "{url}"],
    "an answer over gRPC": [*QUESTION, "--url", "127.0.0.1:{port}", "--protocol", "grpc"],
    "answers": ["evaluate", "--url", "{url}", "--limit", "4"],
    "a download": ["model", "fetch", "hf://nobody/nothing"],
    "a broker": ["feedback", "some-id", "A"],
    "a pipeline server": ["pipeline", "list", "--url", "{url}"],
    "a broker, for a run": ["pipeline", "run", "--reason", "test"],
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("what", WAITING)
def test_a_signal_while_it_waits(what: str, number: int, env: dict[str, str], server: Silent, tmp_path: Path) -> None:
    words = [word.format(url=server.url, port=server.port) for word in WAITING[what]]
    env |= {"K_SINK": server.url, "HF_ENDPOINT": server.url, "MCQA_CACHE": str(tmp_path)}
    process = start(*words, env=env)
    assert server.asked.wait(SECONDS), ended(process).err
    process.send_signal(number)
    result = ended(process)
    assert (result.code, result.out) == (128 + number, b"")
    assert result.lines[-1:] == (["interrupted"] if number == signal.SIGINT else result.lines[-1:])
    assert b"Traceback" not in result.err


UNNOTICED = """
import signal, socket, threading, time, mcqa.questions
def slow(*_, **__):
    ours, theirs = socket.socketpair()
    def send():
        time.sleep(0.5)
        signal.pthread_kill(threading.get_ident(), {number})
    threading.Thread(target=send, daemon=True).start()
    ours.recv(1)
mcqa.questions.load_bank = slow
from mcqa.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_that_interrupts_no_system_call(number: int, env: dict[str, str]) -> None:
    """It comes just before the main thread waits; here another thread gets it, which is the same to Python."""
    command = [sys.executable, "-c", UNNOTICED.format(number=int(number)), "bank"]
    pipe = subprocess.PIPE
    result = ended(subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, preexec_fn=prepare))
    assert (result.code, result.out) == (128 + number, b"")


DROPPED = """
import sys, time, mcqa.questions
class Slow:
    def __del__(self):
        print("in a destructor", flush=True)
        time.sleep({seconds})
def slow(*_, **__):
    Slow()
    time.sleep({seconds})
mcqa.questions.load_bank = slow
from mcqa.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_in_a_destructor_is_not_dropped(number: int, env: dict[str, str]) -> None:
    command = [sys.executable, "-c", DROPPED.format(seconds=SECONDS * 4), "bank"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, preexec_fn=prepare)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in a destructor\n"
    process.send_signal(number)
    result = ended(process)
    assert (result.code, result.lines) == (128 + number, ["interrupted"] if number == signal.SIGINT else [])


def test_ctrl_c_while_a_log_is_followed(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "no-loop").mkdir()
    (tmp_path / "no-loop" / "supervisor.log").write_text("a line\n")
    process = start("logs", "supervisor", "-f", env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == b"a line\n"
    process.send_signal(signal.SIGINT)
    result = ended(process)
    assert (result.code, result.lines[-1]) == (130, "interrupted")


def test_ctrl_c_while_a_pipe_has_no_writer_yet(env: dict[str, str], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start(*QUESTION, "--code-file", str(pipe), env=env)
    deadline = time.monotonic() + SECONDS
    while str(pipe) not in [os.path.realpath(link) for link in Path(f"/proc/{process.pid}/fd").glob("*")]:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert ended(process).code == 130


def test_ctrl_c_while_questions_are_made_and_scored(env: dict[str, str], tmp_path: Path) -> None:
    process = start("evaluate", "--records", str(tmp_path / "records"), env=env, python=("-X", "importtime"))
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith(b"predictor.scorer"):  # the model is being loaded
            process.send_signal(signal.SIGINT)
            break
    result = ended(process)
    assert result.code == 130
    assert b"Traceback" not in result.err
    assert not (tmp_path / "records").exists()


# Streams

LONG = ["bank", "--sample", "400"]


@pytest.mark.parametrize("words", [LONG, ["ask", "--file", "-", "--json"]])
def test_a_closed_pipe_ends_it_without_a_word(words: list[str], env: dict[str, str]) -> None:
    # By a shell, as people do it: its pipe is closed after the first line.
    stdin = b'{"question": "Q?", "choices": ["x", "y"]}\n' * 400
    command = f"{sys.executable} -m mcqa {' '.join(words)} | head -n 1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], input=stdin, capture_output=True, env=env, check=False)
    lines = result.stdout.splitlines()
    assert (len(lines), lines[-1]) == (2, b"141"), result.stderr
    assert [line for line in result.stderr.splitlines() if b"loading the shipped" not in line] == []


@pytest.mark.parametrize("words", [["bank"], LONG, ["model", "show"], ["--help"], ["bank", "--help"]])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_one_line(words: list[str], buffered: str, env: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        result = run(*words, env={**env, "PYTHONUNBUFFERED": buffered}, stdout=full)
    assert (result.code, result.lines) == (1, ["error: cannot write the output: No space left on device"])


@pytest.mark.parametrize(
    "words",
    [
        ["bank", "--out", "{full}"],
        ["evaluate", "--limit", "2", "--out", "{full}"],
        ["evaluate", "--limit", "2", "--records", "{full}"],
        ["evaluate", "--limit", "2", "--diagram", "{full}"],
    ],
)
def test_a_full_disk_under_a_file_is_one_line_that_names_it(
    words: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    full = tmp_path / "full.png"
    full.symlink_to("/dev/full")
    result = run(*(word.format(full=full) for word in words), env=env)
    assert result.code == 1
    assert result.lines[-1] == f"error: cannot write {full}: No space left on device"


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_no_traceback(closed: int, env: dict[str, str]) -> None:
    def close() -> None:
        prepare()
        os.close(closed)

    result = run(*LONG, env=env, preexec_fn=close)
    assert result.code == 0
    assert result.err == b""


# Characters

QUESTION_FILE = '{"question": "Wie heißt das – „naïve“ → ✓ 日本?", "choices": ["größer ≥", "…"], "answer": 0}\n'
PLAIN = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
SHOWN = [
    ["bank", "{file}", "--sample", "1"],
    ["bank", "--help"],
    ["model", "show"],
    ["ask", "--file", "{file}.missing"],
]
SCORED = [["ask", "--file", "{file}", "--model", "models/tiny"], ["evaluate", "--limit", "20"]]
IN_PLAIN = [(words, locale) for words in SHOWN for locale in PLAIN] + [(words, PLAIN[0]) for words in SCORED]


@pytest.mark.parametrize(("words", "locale"), IN_PLAIN)
def test_without_utf_8_every_character_has_a_stand_in(
    words: list[str], locale: dict[str, str], env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(QUESTION_FILE, encoding="utf-8")
    result = run(*(word.format(file=file) for word in words), env={**env, **locale})
    encoding = "latin-1" if "latin-1" in locale.values() else "ascii"
    text = result.out.decode(encoding) + result.err.decode(encoding)
    assert "Traceback" not in text
    assert "Error" not in text
    assert result.code == (1 if "missing" in words[-1] else 0)
    assert text


@pytest.mark.parametrize("locale", PLAIN[:2])
def test_json_is_the_same_json_without_utf_8(locale: dict[str, str], env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(QUESTION_FILE, encoding="utf-8")
    words = ("ask", "--file", str(file), "--model", "models/tiny", "--json")
    there, here = (json.loads(run(*words, env={**env, **item}).out.decode("latin-1")) for item in (locale, {"X": "x"}))
    assert there["choice"] == here["choice"].encode("latin-1").decode("utf-8")


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LANG": "POSIX"}])
def test_a_terminal_in_the_c_locale_gets_ascii(locale: dict[str, str], env: dict[str, str]) -> None:
    code, written = on_terminal("bank", "--sample", "2", "--seed", "1", env={**env, **locale}, columns=80)
    assert code == 0
    assert written.isascii()
    assert b"> " in written


# Width

PRINTED = [["--help"], ["ask", "--help"], ["up", "--help"], ["bank"], ["model", "show"],
           ["bank", "--sample", "6", "--seed", "4"]]  # fmt: skip
SIZED = [*PRINTED, ["evaluate", "--limit", "30", "--model", "models/tiny"],
         ["ask", "--random", "--seed", "3", "--model", "models/tiny"]]  # fmt: skip


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("words", SIZED)
def test_nothing_is_wider_than_the_terminal_and_no_bar_is_left(
    words: list[str], columns: int, env: dict[str, str]
) -> None:
    code, written = on_terminal(*words, env=env, columns=columns)
    assert code == 0
    lines = screen(written)
    wide = [line for line in lines if len(line) > columns and "mcqa serve --model" not in line]  # is copied, so whole
    assert wide == []
    assert not [line for line in lines if re.search(r"━|⠋|it/s|loading", line) or "\x1b" in line]


@pytest.mark.parametrize("words", [*PRINTED, ["nonsense"], ["ask", "--nope"], SIZED[-2]])
def test_what_is_no_terminal_gets_no_control_characters(words: list[str], env: dict[str, str]) -> None:
    result = run(*words, env=env)
    assert CONTROL.search(result.out + result.err) is None


def screen(written: bytes) -> list[str]:
    """The lines that stay on a terminal after all that was written, as long as it does not scroll back up."""
    lines, row, column = [""], 0, 0
    for sequence, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", written.decode()):
        if text:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + text + line[column + len(text) :]
            column += len(text)
        elif sequence == "\r":
            column = 0
        elif sequence == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif sequence.endswith("A"):
            row = max(0, row - int(sequence[2:-1] or 1))
        elif sequence.endswith("K"):
            lines[row] = "" if sequence[2:-1] == "2" else lines[row][:column]
    return [line.rstrip() for line in lines]


# Usage, and faults of our own


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonsense"], "error: No such command 'nonsense': see `mcqa --help`"),
        (["evalute"], "error: No such command 'evalute'. Did you mean 'evaluate'?: see `mcqa --help`"),
        (["ask", "--nope"], "error: No such option: --nope"),
        (["feedback", "x"], "error: Missing argument 'answer': see `mcqa feedback --help`"),
        (["dead-letters", "show"], "error: Missing argument 'name': see `mcqa dead-letters show --help`"),
        (["dead-letters", "replay"], "give names, or --all: see `mcqa dead-letters replay --help`"),
        (["bank", "--sample", "many"], "see `mcqa bank --help`"),
        (["bank", "--sample"], "requires an argument"),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_to_look(words: list[str], says: str, env: dict[str, str]) -> None:
    result = run(*words, env=env)
    assert (result.code, result.out, len(result.lines)) == (2, b"", 1), result.err
    assert says in result.lines[0]


FAULTY = """
import sys, mcqa.questions
def fail(*_, **__): raise {error}
mcqa.questions.load_bank = fail
from mcqa.cli import main
main()
"""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("ValueError('two\\nlines')", "error: unexpected ValueError: two lines; its trace is in "),
        ("MemoryError()", "error: unexpected MemoryError; its trace is in "),
        ("RecursionError('deep')", "error: unexpected RecursionError: deep; its trace is in "),
        ("OSError(28, 'No space left on device', '/some/file')", "error: /some/file: No space left on device"),
        ("PermissionError(13, 'Permission denied', '/root/x')", "error: /root/x: Permission denied"),
        ("OSError(24, 'Too many open files')", "error: cannot write the output: Too many open files"),
    ],
)
def test_a_fault_of_ours_is_one_line_and_a_file(error: str, says: str, env: dict[str, str], tmp_path: Path) -> None:
    script = FAULTY.format(error=error)

    def fault(*options: str, **more: str) -> Any:
        return subprocess.run(
            [sys.executable, "-c", script, *options, "bank"],
            env={**env, "TMPDIR": str(tmp_path), **more}, capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip

    result = fault()
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.stderr
    assert result.stderr.startswith(says)
    if "trace is in" not in says:
        return
    trace = Path(result.stderr.split("trace is in ")[1].strip())
    assert stat.S_IMODE(trace.stat().st_mode) == 0o600
    assert "Traceback (most recent call last)" in trace.read_text()
    for shown in (fault("--debug"), fault(MCQA_DEBUG="1")):
        assert "Traceback (most recent call last)" in shown.stderr
        assert shown.returncode == 1


# A loop of somebody else

KEPT_OUT = ["status", "logs", "logs supervisor", "logs supervisor -f", "events", "events -f", "dead-letters list",
            "dead-letters replay --all", "feedback x A", "drift status", "rollout status", "rollout hold",
            "pipeline list", "pipeline run --reason x", "up", "down", "down --delete", "ask Q? -c x -c y"]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "inside"),
    [
        pytest.param(verb, inside, id=f"{'its files' if inside else 'the folder'}-{verb}")
        for inside in (True, False)
        for verb in KEPT_OUT
        if not (inside and verb == "logs")  # the names of logs are no secret
    ],
)
def test_a_loop_of_another_user_is_one_line(verb: str, inside: bool, env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("environment.json", "supervisor.lock", "supervisor.log", "settings.json", "status.json", "loop.db"):
        (folder / name).write_text("{}")
        (folder / name).chmod(0)
    if not inside:
        folder.chmod(0)
    if os.geteuid() == 0:
        for path in (*folder.iterdir(), folder) if inside else (folder,):
            os.chown(path, 65534, 65534)
    result = run(*verb.split(), env={**env, "MCQA_LOCAL_DIR": str(folder)}, preexec_fn=without_privileges)
    assert result.code == 1
    assert result.out == b""
    assert len(result.lines) == 1, result.err
    assert result.lines[0].startswith(f"error: {folder}")
    assert "Permission denied" in result.lines[0]


def without_privileges() -> None:
    """Root without what lets it read everybody's files: another user's folder is closed to it as well."""
    prepare()
    if os.geteuid() == 0:
        library = ctypes.CDLL(None)
        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
            library.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
