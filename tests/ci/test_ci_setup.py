"""scripts/setup: it reports what prevents it, shows what it does, and continues after any interruption."""

from __future__ import annotations

import fcntl
import importlib.util
import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


def load(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


progress, preflight = load("progress"), load("preflight")
environment = load("environment")


def setup(*words: str, path: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {"HOME": "/nonexistent", "PATH": path or os.environ["PATH"]}
    return subprocess.run(
        ["/bin/bash", str(SCRIPTS / "setup"), *words],
        env={**inherited, **environ}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without an environment: what scripts/setup needs of one."""
    root = tmp_path / "checkout"
    (root / "scripts").mkdir(parents=True)
    for name in ("setup", "environment.py", "preflight.py", "progress.py"):
        shutil.copy(SCRIPTS / name, root / "scripts")
    for name in ("pyproject.toml", *environment.LOCKS.values()):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "local", root / "local", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def fake(folder: Path, name: str, version: str) -> str:
    """A Python that is of this version and can nothing else."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit 0\nexit 1\n')
    (folder / name).chmod(0o755)
    return str(folder / name)


def test_a_wrong_python_is_told_with_its_place(checkout: Path, tmp_path: Path) -> None:
    own = tmp_path / "bin"
    fake(own, "python3", "3.14.1")
    fake(own, "python3.9", "3.9.2")
    for tool in ("sed", "head", "dirname"):
        (own / tool).symlink_to(shutil.which(tool) or "")
    done = subprocess.run(
        ["/bin/bash", "scripts/setup", "run"], cwd=checkout, env={"PATH": str(own), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    result = f"found 3.14.1 ({own}/python3), 3.9.2 ({own}/python3.9) on the PATH"
    assert f"needs Python 3.11, 3.12 or 3.13, {result}" in done.stderr
    assert "PYTHON=/" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("version", "says"), [("3.14.1", "is Python 3.14.1"), (None, "is not a Python that starts")])
def test_a_python_that_was_named_is_not_passed_over(
    checkout: Path, tmp_path: Path, version: str | None, says: str
) -> None:
    named = fake(tmp_path / "bin", "python", version) if version else "/no/such/python"
    done = subprocess.run(
        ["/bin/bash", "scripts/setup", "run"], cwd=checkout, env={**os.environ, "PYTHON": named},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"setup: PYTHON={named} {says}: name a Python 3.11, 3.12 or 3.13\n"


def test_it_is_quiet_and_changes_nothing_where_all_is_there() -> None:
    before = (ROOT / ".venv" / ".setup").stat().st_mtime_ns if (ROOT / ".venv" / ".setup").exists() else None
    if before is None or not environment.is_fresh("dev", (environment.installed() or _unknown()).torch):
        pytest.skip("this environment was not made by scripts/setup")
    done = setup("dev", TORCH=environment.installed().torch)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (ROOT / ".venv" / ".setup").stat().st_mtime_ns == before


def _unknown() -> Any:
    return environment.Installed("", "", "", "")


@pytest.mark.parametrize(
    ("lock", "kind", "torch", "fresh"),
    [
        ("requirements.lock", "run", "cpu", True),
        ("requirements.lock", "dev", "cpu", False),
        ("requirements-dev.lock", "run", "cpu", True),
        ("requirements-bench.lock", "dev", "cpu", True),
        ("requirements-dev.lock", "bench", "cpu", False),
        ("requirements.lock", "run", "cuda", False),
    ],
)
def test_a_larger_set_holds_the_smaller_ones(
    lock: str, kind: str, torch: str, fresh: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".setup").write_text(
        json.dumps({"lock": lock, "torch": "cpu", "digest": environment.digest(lock), "place": str(ROOT)})
    )
    monkeypatch.setattr(environment, "STAMP", tmp_path / ".setup")
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    assert environment.is_fresh(kind, torch) is fresh


@pytest.mark.parametrize("change", ["digest", "place", "torch"])
def test_what_makes_an_environment_stale(change: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = {"lock": "requirements.lock", "torch": "cpu", "digest": environment.digest("requirements.lock")}
    (tmp_path / ".setup").write_text(json.dumps({**state, "place": str(ROOT), change: "another"}))
    monkeypatch.setattr(environment, "STAMP", tmp_path / ".setup")
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    assert not environment.is_fresh("run", "cpu")


@pytest.mark.parametrize("name", ["moved", "moved with blanks", "x" * 150])
def test_a_moved_environment_works(tmp_path: Path, name: str) -> None:
    """A real one, with a script of pip's own making and an editable package, at its new place."""
    old, new = tmp_path / "before", tmp_path / name
    subprocess.run([sys.executable, "-m", "venv", old / ".venv"], check=True)
    (old / "thing.py").write_text("def main():\n    print('here', __file__)\n")
    (packages,) = (old / ".venv" / "lib").glob("python3.*/site-packages")
    (packages / "__editable__.thing.pth").write_text(f"{old}\n")
    script = old / ".venv" / "bin" / "thing"
    script.write_text(f"#!{old}/.venv/bin/python3\nfrom thing import main\nmain()\n")
    script.chmod(0o755)
    old.rename(new)
    with pytest.raises((subprocess.CalledProcessError, OSError)):
        subprocess.run([new / ".venv" / "bin" / "thing"], check=True, capture_output=True)
    environment.relocate(new / ".venv", str(old), str(new))
    for program, *arguments in (("thing",), ("pip", "--version")):
        command = [str(new / ".venv" / "bin" / program), *arguments]
        assert str(new) in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert environment._made_for(new / ".venv") == str(new)
    second = tmp_path / "again"
    new.rename(second)
    environment.relocate(second / ".venv", str(new), str(second))
    assert "here" in subprocess.run([second / ".venv/bin/thing"], check=True, capture_output=True, text=True).stdout


def test_a_package_that_was_cut_off_is_installed_again(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, whole in (("good-1.dist-info", True), ("cut-1.dist-info", False), ("~umpy", False)):
        (packages / name).mkdir(parents=True)
        (packages / name / "METADATA").write_text("")
        if whole:
            (packages / name / "RECORD").write_text("")
    environment.remove_incomplete_packages(tmp_path)
    assert [item.name for item in packages.iterdir()] == ["good-1.dist-info"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ["ERROR: Could not install due to an OSError: [Errno 28] No space left on device"],
            "the disk is full",
        ),
        (["WARNING: Retrying: NewConnectionError('Failed to establish')", "ERROR: No matching"], "cannot be reached"),
        (["x", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", ""], "THESE PACKAGES DO NOT MATCH"),
        ([], "it printed nothing"),
    ],
)
def test_a_failure_is_one_line_with_its_reason(lines: list[str], says: str) -> None:
    assert says in environment._reason(lines)
    assert "\n" not in environment._reason(lines)


@pytest.mark.parametrize("width", [60, 80])
def test_progress_on_a_terminal_leaves_nothing_behind(width: int) -> None:
    """What a terminal of this width shows in the end: the lines that were said, and nothing else."""
    script = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "from progress import ProgressLine\nline = ProgressLine()\nline.say('begin')\n"
        "for n in range(20): line.update('packages (hashes are checked): ' + 'x' * 10 * n)\n"
        "line.say('end')\n"
    )
    raw = in_a_terminal([sys.executable, "-c", script], width)
    shown = raw.replace("\r\n", "\n")
    updates = re.findall(r"\r([^\r\n\033]*)\033\[K", shown)
    assert max(map(len, updates)) < width
    lines = [re.sub(r"\033\[[0-9;]*m", "", item.rsplit("\033[K", 1)[-1]) for item in shown.splitlines()]
    assert [item.split(maxsplit=2)[2] for item in lines if item.strip()] == ["begin", "end"]


def test_progress_elsewhere_has_neither_colours_nor_returns() -> None:
    out = io.StringIO()
    line = progress.ProgressLine(out)
    line.say("begin")
    line.update("never shown so soon")
    line._printed -= progress.PLAIN_SECONDS + 1
    line.update("12 of 170")
    line.clear()
    assert re.fullmatch(r"setup 0:00  begin\nsetup 0:00  12 of 170\n", out.getvalue())


def in_a_terminal(command: list[str], width: int, end: Any = None, **environ: str) -> str:
    """What a command writes to a terminal of so many columns; `end` may act on the process meanwhile."""
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (40, width))
    own = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command, stdin=secondary, stdout=secondary, stderr=secondary, env={**own, "TERM": "xterm", **environ},
        start_new_session=True,
    )  # fmt: skip
    os.close(secondary)
    output = b""
    if end:
        threading.Thread(target=end, args=(process,), daemon=True).start()
    while True:
        try:
            part = os.read(primary, 65536)
        except OSError:
            break
        if not part:
            break
        output += part
    process.wait()
    os.close(primary)
    return output.decode()


SLEEPS = "import signal, sys, time; print('Collecting a', flush=True); time.sleep(600)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_set_up_says_so_in_one_line(checkout: Path, number: signal.Signals) -> None:
    """The step it is at is ended with it."""
    (checkout / "scripts" / "slow.py").write_text(
        "import runpy, sys, pathlib\n"
        "here = pathlib.Path(__file__).parent\n"
        "sys.path.insert(0, str(here))\n"
        "import environment\n"
        "def slow(kind, torch, lock):\n"
        "    environment.CACHE.mkdir(parents=True)\n"
        "    steps = environment.Steps(environment.ProgressLine(), lock)\n"
        f"    steps.run([sys.executable, '-c', {SLEEPS!r}], 'slow', 'be slow')\n"
        "environment._set_up = slow\n"
        "environment.check = lambda *_: None\n"
        "import signal\n"
        "signal.signal(signal.SIGTERM, environment._exit_on_signal)\n"
        "signal.signal(signal.SIGHUP, environment._exit_on_signal)\n"
        "sys.exit(environment.main(['run']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(checkout / "scripts" / "slow.py")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TORCH": "cpu"},
    )  # fmt: skip
    log = checkout / ".cache" / "setup.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "Collecting" in log.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "setup: interrupted; `make run` again continues from here\n"
    assert children
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_second_set_up_waits_for_the_first(checkout: Path) -> None:
    (checkout / ".cache").mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(checkout / 'scripts')!r})\n"
        "import environment\n"
        "with environment._exclusive(): print('mine', flush=True)\n"
    )
    with (checkout / ".cache" / "setup.lock").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(1.0)
    lines = second.communicate(timeout=60)[0].splitlines()
    assert "another set-up of this checkout is running" in lines[0]
    assert lines[1:] == ["mine"]


def test_nothing_is_installed_while_a_port_is_busy(checkout: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        done = subprocess.run(
            ["/bin/bash", "scripts/setup", "run", "--up", "--port", str(port)], cwd=checkout,
            env={**os.environ, "PYTHON": sys.executable, "TORCH": "cpu", "CHECKS": "off"},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 1
    assert "make run cannot start yet" in done.stderr
    assert f"--port {port} is in use" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_checkout_of_somebody_else_is_one_line(checkout: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can run a program as another user")
    for path in [checkout, *checkout.rglob("*"), *list(checkout.parents)[:-2]]:
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    done = subprocess.run(
        ["/bin/bash", "scripts/setup", "run"], cwd=checkout, user=65534, group=65534, extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TORCH": "cpu", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "needs Python 3.11, 3.12 or 3.13" in done.stderr:
        pytest.skip("the Python of this machine is root's alone: another user finds none")
    assert done.returncode == 1
    assert f"{checkout} cannot be written by" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_script_of_a_moved_environment_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "checkout" / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    script = folder / "mcqa"
    script.write_text(f"#!{folder}/python\nimport sys\nprint(sys.argv[1:])\n")
    script.chmod(0o755)
    environment.guard_start(script)
    environment.guard_start(script)  # done once, it stays
    assert subprocess.run([script, "a b", "c"], capture_output=True, text=True, check=True).stdout == "['a b', 'c']\n"
    moved = (tmp_path / "checkout").rename(tmp_path / "moved")
    completed = subprocess.run([moved / ".venv" / "bin" / "mcqa"], capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr == "error: this checkout was moved: make run (or make test) repairs its environment\n"
    environment.relocate(moved / ".venv", str(tmp_path / "checkout"), str(moved))
    second = subprocess.run([moved / ".venv" / "bin" / "mcqa", "d"], capture_output=True, text=True, check=True)
    assert second.stdout == "['d']\n"


@pytest.mark.parametrize("ignored", [False, True])
def test_a_script_starts_without_ctrl_c_and_says_whether_it_may_have_it(tmp_path: Path, ignored: bool) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    script = tmp_path / "mcqa"
    program = "print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, os.environ.get('MCQA_INTERRUPT'))"
    script.write_text(f"#!{tmp_path}/python\nimport os, signal\n{program}\n")
    script.chmod(0o755)
    environment.guard_start(script)
    command = f"trap '' INT; '{script}'" if ignored else f"'{script}'"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.split()
    if Path("/proc/self/status").exists():
        assert result == ["True", "None" if ignored else "later"]
