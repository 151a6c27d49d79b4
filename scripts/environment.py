"""Makes or repairs .venv for scripts/setup; run by a Python that has nothing but its standard library.

What is installed is recorded in .venv/.setup only when it is complete: whatever interrupts this, the same command
continues.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from progress import ProgressLine, WatchedCommand, folder_size, pip_state

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
STAMP = VENV / ".setup"
CACHE = ROOT / ".cache" / "setup"
LOG = ROOT / ".cache" / "setup.log"
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock", "bench": "requirements-bench.lock"}
"""From the smallest to the largest set: a larger one holds the smaller ones."""

COSTS = {
    ("run", "cpu"): (450, 2000), ("dev", "cpu"): (500, 2250), ("bench", "cpu"): (530, 2400),
    ("run", "cuda"): (3400, 7500), ("dev", "cuda"): (3500, 7900), ("bench", "cuda"): (3500, 8100),
}  # fmt: skip
"""Megabytes to download, and on the disk in the end: rounded up. `run` for cpu was measured
once (Linux, x86-64); the others are estimates from the sizes of what they add."""


class SetupError(Exception):
    """One line for people."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What .venv holds: which lock, which torch, a digest of what was requested, and the checkout it was made for."""

    lock: str
    torch: str
    digest: str
    place: str


def main(arguments: list[str]) -> int:
    kind = arguments[0] if arguments else "run"
    if kind not in LOCKS:
        print(f"setup: {kind!r} is not {', '.join(LOCKS)}", file=sys.stderr)
        return 2
    verb = {"run": "make run", "dev": "make test", "bench": "make bench"}[kind]
    torch = os.environ.get("TORCH") or "auto"
    if torch == "auto":
        torch = "cuda" if _succeeds("nvidia-smi") else "cpu"
    fresh = is_fresh(kind, torch)
    try:
        check(kind, torch, arguments[1:], fresh, verb)
        if not fresh:
            with _exclusive() as lock:
                _set_up(kind, torch, lock)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"setup: {_reason([str(error)])}; `{verb}` again continues from here", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"setup: interrupted; `{verb}` again continues from here", file=sys.stderr)
        return 130
    return 0


def check(kind: str, torch: str, arguments: list[str], fresh: bool, verb: str) -> None:
    """SetupError that lists everything that prevents it."""
    import preflight

    problems, other_ports = [], ""
    if not fresh:
        complete = PYTHON.exists() and STAMP.exists()
        missing = 0 if complete else max(0, sum(COSTS[kind, torch]) * 1_000_000 - folder_size(VENV))
        problems += preflight.check_environment(missing, new=not PYTHON.exists())
    if arguments[:1] == ["--up"]:
        loop_problems, other_ports = preflight.check_loop(arguments[1:])
        problems += loop_problems
    if problems:
        raise SetupError(preflight.explain(problems, arguments[1:], other_ports, verb))


def is_fresh(kind: str, torch: str) -> bool:
    """Whether .venv holds what is requested, and was made for this checkout."""
    state = installed()
    if state is None or state.torch != torch or state.place != str(ROOT) or not PYTHON.exists():
        return False
    names = list(LOCKS.values())
    return state.lock in names[names.index(LOCKS[kind]) :] and state.digest == digest(state.lock)


def installed() -> Installed | None:
    try:
        return Installed(**json.loads(STAMP.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def digest(lock: str) -> str:
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + (ROOT / lock).read_bytes()).hexdigest()[:32]


def _set_up(kind: str, torch: str, lock: int) -> None:
    line = ProgressLine()
    state, wanted = installed(), LOCKS[kind]
    old = state.place if state else _made_for(VENV)
    same_python = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    usable = PYTHON.exists() and _succeeds(str(PYTHON), "-c", same_python)
    if usable and old and old != str(ROOT):
        line.say(f"this checkout was {old}: .venv is adapted to its new place")
        relocate(VENV, old, str(ROOT))
        if state:
            _record(Installed(state.lock, state.torch, state.digest, str(ROOT)))
            if is_fresh(kind, torch):
                return
    names = list(LOCKS.values())
    if state and names.index(state.lock) > names.index(wanted):
        wanted = state.lock  # what `make test` needs is not taken away by `make run`
        kind = next(name for name, lock_file in LOCKS.items() if lock_file == wanted)
    total = sum(1 for text in (ROOT / wanted).read_text().splitlines() if re.match(r"[a-zA-Z]", text))
    version = _torch_version()
    if not usable or not STAMP.exists():
        download, disk = COSTS[kind, torch]
        if PYTHON.exists():
            line.say("continuing an unfinished set-up")
        line.say(f"Python {sys.version.split()[0]}, torch {version} ({torch}), {total} packages")
        line.say(f"download {download} MB, disk {disk / 1000:.1f} GB, 2 to 10 minutes")
    else:
        line.say("the packages changed: updating .venv")
    STAMP.unlink(missing_ok=True)
    steps = Steps(line, lock)
    if not usable:
        shutil.rmtree(VENV, ignore_errors=True)
        steps.run([sys.executable, "-m", "venv", str(VENV)], "the environment", "make .venv")
    remove_incomplete_packages(VENV)
    steps.torch(torch, version)
    arguments = ["--no-deps", "--require-hashes", "--requirement", wanted]
    steps.pip(arguments, "packages", total, "install the packages")
    steps.pip(["--no-deps", "--no-build-isolation", "--editable", "."], "coding-mcqa itself", 1, "install coding-mcqa")
    guard_start(VENV / "bin" / "mcqa")
    _record(Installed(wanted, torch, digest(wanted), str(ROOT)))
    shutil.rmtree(CACHE, ignore_errors=True)
    line.say("ready")


class Steps:
    """The commands of setting up, each with its progress shown; SetupError with the reason when one fails."""

    def __init__(self, line: ProgressLine, lock: int) -> None:
        self._line, self._lock = line, lock
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        LOG.write_text("")

    def run(self, command: list[str], title: str, what: str) -> None:
        process = WatchedCommand(LOG)
        if process.run(command, self._line, lambda _: title, os.environ, self._lock):
            raise SetupError(f"cannot {what}: {_reason(process.lines)} (its output: {LOG.relative_to(ROOT)})")

    def pip(self, arguments: list[str], title: str, total: int, what: str, *, may_fail: bool = False) -> bool:
        """Whether it succeeded, where it may fail."""
        process = WatchedCommand(LOG)
        (packages,) = (VENV / "lib").glob("python3.*/site-packages")
        command = [*PIP, "install", "--progress-bar", "off", *arguments]
        environment = {**os.environ, "TMPDIR": str(CACHE), "PYTHONUNBUFFERED": "1"}
        state = pip_state(title, total, CACHE, packages)
        code = process.run(command, self._line, state, environment, self._lock)
        if code and not may_fail:
            raise SetupError(
                f"cannot {what}: {_reason(process.lines)}; the same command again continues from here (pip's output: "
                f"{LOG.relative_to(ROOT)})"
            )
        if not code:
            self._line.say(f"{title}: done")
        return not code

    def torch(self, torch: str, version: str) -> None:
        current = _version_of("torch")
        if torch == "cuda" and current.endswith("+cpu"):
            self.run([*PIP, "uninstall", "--quiet", "--yes", "torch"], "torch", "remove the CPU build")
            current = ""
        if current.partition("+")[0] == version:
            return
        name = f"torch {version}"
        if torch == "cpu" and sys.platform == "linux":
            # PyPI's torch for Linux brings gigabytes of CUDA; the PyTorch project's own index has CPU builds.
            index = ["--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0", "--timeout", "15"]
            arguments = ["--no-deps", *index, f"torch=={version}"]
            if self.pip(arguments, f"{name}, CPU build", 1, "install torch", may_fail=True):
                return
            self._line.say("no CPU build within reach: taking the default build, which may be larger")
        self.pip([f"torch=={version}"], name, 1, "install torch")


def relocate(venv: Path, old: str, new: str) -> None:
    """Adapts an environment that was made for the checkout `old` to the checkout `new`, without a network."""
    files = [*(venv / "bin").iterdir(), venv / "pyvenv.cfg"]
    for packages in (venv / "lib").glob("python3.*/site-packages"):
        files += [*packages.glob("__editable__*"), *packages.glob("coding_mcqa-*.dist-info/*.json")]
    launcher = _launcher(f"{new}/.venv/bin")
    for path in files:
        if path.is_symlink() or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path.parent.name == "bin":
            # pip writes a line of shell where the path is long or has spaces.
            text = re.sub(r"\A#!/bin/sh\n'''exec' .*\n' '''\n", launcher, text)
            text = re.sub(rf"\A#!{re.escape(old)}/\.venv/bin/python[0-9.]*\n", launcher, text)
        changed = text.replace(old, new)
        if changed != path.read_text(encoding="utf-8"):
            part = path.with_name(f".{path.name}.{os.getpid()}")
            part.write_text(changed, encoding="utf-8")
            shutil.copymode(path, part)
            part.replace(path)


_HEAD = """\
#!/bin/sh
'''test' -x "{python}" || {{
    echo "error: this checkout was moved: make run (or make test) repairs its environment" >&2
    exit 1
}}
taken=
while read -r name value; do
    case $name$value in SigIgn:*[014589cd]) taken=1 ;; esac
done 2>/dev/null </proc/self/status
[ -z "$taken" ] || {{ trap "" INT; export MCQA_INTERRUPT=later; }}
exec "{python}" "$0" "$@"
' '''
"""
"""A command to the shell and a string to Python, as pip's own head for long paths is."""


def guard_start(script: Path) -> None:
    """Handles what happens before Python can: the interpreter is gone because the checkout was moved; Ctrl-C while
    Python starts, which would end in a traceback (`mcqa.cli` handles Ctrl-C afterwards, unless the caller ignores it).
    """
    first, _, rest = script.read_text(encoding="utf-8").partition("\n")
    if not first.startswith(f"#!{script.parent}/python") or '"' in first:
        return
    part = script.with_name(f".{script.name}.{os.getpid()}")
    part.write_text(_HEAD.format(python=first.removeprefix("#!")) + rest, encoding="utf-8")
    shutil.copymode(script, part)
    part.replace(script)


def _launcher(folder: str) -> str:
    python = f"{folder}/python"
    if " " not in python and len(python) < 120:
        return f"#!{python}\n"
    return f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"


def remove_incomplete_packages(venv: Path) -> None:
    """Packages whose installation was interrupted: pip would take them for complete."""
    for packages in (venv / "lib").glob("python3.*/site-packages"):
        for folder in [*packages.glob("*.dist-info"), *packages.glob("~*")]:
            if folder.name.startswith("~") or not (folder / "RECORD").exists():
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _exclusive() -> Iterator[int]:
    """The lock's file descriptor. Waits for another set-up of this checkout, and for a pip that outlived its own."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (ROOT / ".cache" / "setup.lock").open("a+") as file:
        line = ProgressLine()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                line.update("another set-up of this checkout is running: waiting for its end")
                time.sleep(0.2)
        line.clear()
        yield file.fileno()


def _reason(lines: list[str]) -> str:
    text = "\n".join(lines)
    if "No space left" in text or "Disk quota" in text:
        return f"the disk is full ({shutil.disk_usage(ROOT).free / 1e9:.1f} GB free for {ROOT})"
    if re.search(r"Temporary failure in name|NewConnectionError|Network is unreachable|getaddrinfo|ConnectTimeout|"
                 r"Read timed out|ReadTimeout|ProxyError|Connection refused|Connection reset", text):  # fmt: skip
        return "the package index cannot be reached (no network, or a proxy is missing)"
    errors = [line for line in lines if line.upper().startswith("ERROR")] or [line for line in lines if line.strip()]
    return " ".join(errors[-1].split())[:200] if errors else "it printed nothing"


def _made_for(venv: Path) -> str | None:
    """The checkout for which an environment was made, by its own record."""
    try:
        match = re.search(
            r"^command = .* -m venv (?:--\S+ )*(.*)/\.venv$", (venv / "pyvenv.cfg").read_text(), re.MULTILINE
        )
    except OSError:
        return None
    return match.group(1) if match else None


def _torch_version() -> str:
    match = re.search(r'"torch==([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
    assert match
    return match.group(1)


def _version_of(name: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    completed = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
    return completed.stdout.strip()


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _record(state: Installed) -> None:
    part = STAMP.with_name(f".setup.{os.getpid()}")
    part.write_text(json.dumps(asdict(state)))
    part.replace(STAMP)


def _exit_on_signal(number: int, _: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGHUP, _exit_on_signal)
    sys.exit(main(sys.argv[1:]))
