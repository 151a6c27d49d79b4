"""Makes .venv as scripts/setup is told, or mends it; run by a Python that has nothing but its standard library.

What is installed is noted in .venv/.setup only when it is whole: whatever interrupts this, the same command goes on.
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

from progress import Line, Watched, pip_state, size

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
    """What .venv holds: which lock, which torch, a digest of what was asked for, and where it was made."""

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
        torch = "cuda" if _works("nvidia-smi") else "cpu"
    fresh = is_fresh(kind, torch)
    try:
        check(kind, torch, arguments[1:], fresh, verb)
        if not fresh:
            with _one_at_a_time() as lock:
                _set_up(kind, torch, lock)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"setup: {_reason([str(error)])}; `{verb}` again goes on from here", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"setup: interrupted; `{verb}` again goes on from here", file=sys.stderr)
        return 130
    return 0


def check(kind: str, torch: str, arguments: list[str], fresh: bool, verb: str) -> None:
    """SetupError with everything that is in the way."""
    import preflight

    problems, other = [], ""
    if not fresh:
        whole = PYTHON.exists() and STAMP.exists()
        missing = 0 if whole else max(0, sum(COSTS[kind, torch]) * 1_000_000 - size(VENV))
        problems += preflight.of_environment(missing, new=not PYTHON.exists())
    if arguments[:1] == ["--up"]:
        more, other = preflight.of_loop(arguments[1:])
        problems += more
    if problems:
        raise SetupError(preflight.told(problems, arguments[1:], other, verb))


def is_fresh(kind: str, torch: str) -> bool:
    """Whether .venv holds what is asked for, and is where it was made."""
    found = installed()
    if found is None or found.torch != torch or found.place != str(ROOT) or not PYTHON.exists():
        return False
    names = list(LOCKS.values())
    return found.lock in names[names.index(LOCKS[kind]) :] and found.digest == digest(found.lock)


def installed() -> Installed | None:
    try:
        return Installed(**json.loads(STAMP.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def digest(lock: str) -> str:
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + (ROOT / lock).read_bytes()).hexdigest()[:32]


def _set_up(kind: str, torch: str, lock: int) -> None:
    line = Line()
    found, wanted = installed(), LOCKS[kind]
    old = found.place if found else _place_of(VENV)
    usable = PYTHON.exists() and _works(str(PYTHON), "-c", "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))")
    if usable and old and old != str(ROOT):
        line.say(f"this checkout was {old}: .venv learns its new place")
        relocate(VENV, old, str(ROOT))
        if found:
            _note(Installed(found.lock, found.torch, found.digest, str(ROOT)))
            if is_fresh(kind, torch):
                return
    names = list(LOCKS.values())
    if found and names.index(found.lock) > names.index(wanted):
        wanted = found.lock  # what `make test` needs is not taken away by `make run`
        kind = next(name for name, one in LOCKS.items() if one == wanted)
    total = sum(1 for one in (ROOT / wanted).read_text().splitlines() if re.match(r"[a-zA-Z]", one))
    version = _torch_version()
    if not usable or not STAMP.exists():
        download, disk = COSTS[kind, torch]
        if PYTHON.exists():
            line.say("going on with an unfinished set-up")
        line.say(f"Python {sys.version.split()[0]}, torch {version} ({torch}), {total} packages")
        line.say(f"download {download} MB, disk {disk / 1000:.1f} GB, 2 to 10 minutes")
    else:
        line.say("the packages changed: .venv follows")
    _discard(STAMP)
    steps = Steps(line, lock)
    if not usable:
        shutil.rmtree(VENV, ignore_errors=True)
        steps.run([sys.executable, "-m", "venv", str(VENV)], "the environment", "make .venv")
    remove_broken(VENV)
    steps.torch(torch, version)
    arguments = ["--no-deps", "--require-hashes", "--requirement", wanted]
    steps.pip(arguments, "packages", total, "install the packages")
    steps.pip(["--no-deps", "--no-build-isolation", "--editable", "."], "coding-mcqa itself", 1, "install coding-mcqa")
    guard_start(VENV / "bin" / "mcqa")
    _note(Installed(wanted, torch, digest(wanted), str(ROOT)))
    shutil.rmtree(CACHE, ignore_errors=True)
    line.say("ready")


class Steps:
    """The commands of setting up, each watched; SetupError with the reason when one fails."""

    def __init__(self, line: Line, lock: int) -> None:
        self._line, self._lock = line, lock
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        LOG.write_text("")

    def run(self, command: list[str], title: str, what: str) -> None:
        watched = Watched(LOG)
        if watched.run(command, self._line, lambda _: title, os.environ, self._lock):
            raise SetupError(f"cannot {what}: {_reason(watched.lines)} (all it said: {LOG.relative_to(ROOT)})")

    def pip(self, arguments: list[str], title: str, total: int, what: str, *, may_fail: bool = False) -> bool:
        """Whether it succeeded, where it may fail."""
        watched = Watched(LOG)
        (packages,) = (VENV / "lib").glob("python3.*/site-packages")
        command = [*PIP, "install", "--progress-bar", "off", *arguments]
        environment = {**os.environ, "TMPDIR": str(CACHE), "PYTHONUNBUFFERED": "1"}
        state = pip_state(title, total, CACHE, packages)
        code = watched.run(command, self._line, state, environment, self._lock)
        if code and not may_fail:
            raise SetupError(
                f"cannot {what}: {_reason(watched.lines)}; the same command again goes on from here (all pip said: "
                f"{LOG.relative_to(ROOT)})"
            )
        if not code:
            self._line.say(f"{title}: done")
        return not code

    def torch(self, torch: str, version: str) -> None:
        have = _version_of("torch")
        if torch == "cuda" and have.endswith("+cpu"):
            self.run([*PIP, "uninstall", "--quiet", "--yes", "torch"], "torch", "remove the CPU build")
            have = ""
        if have.partition("+")[0] == version:
            return
        name = f"torch {version}"
        if torch == "cpu" and sys.platform == "linux":
            # PyPI's Linux torch brings gigabytes of CUDA; the PyTorch project's own index has CPU builds.
            index = ["--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0", "--timeout", "15"]
            arguments = ["--no-deps", *index, f"torch=={version}"]
            if self.pip(arguments, f"{name}, CPU build", 1, "install torch", may_fail=True):
                return
            self._line.say("no CPU build within reach: taking the default build, which may be larger")
        self.pip([f"torch=={version}"], name, 1, "install torch")


def relocate(venv: Path, old: str, new: str) -> None:
    """Makes an environment that was made for the checkout `old` one of the checkout `new`, without any network."""
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
            # pip writes a shell's line where the path is long or has blanks.
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
    echo "error: this checkout was moved: make run (or make test) mends its environment" >&2
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
"""A command to the shell and a text to Python, as pip's own head for long paths is."""


def guard_start(script: Path) -> None:
    """What happens before a script of pip's runs, and Python can say nothing of: its interpreter is gone, for the
    checkout was moved; Ctrl-C while Python starts, which would end in a traceback of Python's own (`mcqa.cli` takes
    Ctrl-C again, unless whoever called had it ignored).
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


def remove_broken(venv: Path) -> None:
    """Packages whose installation was cut off: pip would take them for whole."""
    for packages in (venv / "lib").glob("python3.*/site-packages"):
        for one in [*packages.glob("*.dist-info"), *packages.glob("~*")]:
            if one.name.startswith("~") or not (one / "RECORD").exists():
                shutil.rmtree(one, ignore_errors=True)


@contextmanager
def _one_at_a_time() -> Iterator[int]:
    """The lock's descriptor. Another set-up of this checkout is waited for, and a pip that outlived its own."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (ROOT / ".cache" / "setup.lock").open("a+") as file:
        line = Line()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                line.update("another set-up of this checkout is at work: waiting for its end")
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
    errors = [one for one in lines if one.upper().startswith("ERROR")] or [one for one in lines if one.strip()]
    return " ".join(errors[-1].split())[:200] if errors else "it said nothing"


def _place_of(venv: Path) -> str | None:
    """The checkout for which an environment was made, by its own note."""
    try:
        made = re.search(
            r"^command = .* -m venv (?:--\S+ )*(.*)/\.venv$", (venv / "pyvenv.cfg").read_text(), re.MULTILINE
        )
    except OSError:
        return None
    return made.group(1) if made else None


def _torch_version() -> str:
    found = re.search(r'"torch==([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
    assert found
    return found.group(1)


def _version_of(name: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _note(state: Installed) -> None:
    part = STAMP.with_name(f".setup.{os.getpid()}")
    part.write_text(json.dumps(asdict(state)))
    part.replace(STAMP)


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _ended(number: int, _: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGHUP, _ended)
    sys.exit(main(sys.argv[1:]))
