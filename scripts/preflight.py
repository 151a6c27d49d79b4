"""Whether this machine has what setting up and the loop need; every problem in one message. Standard library only."""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from local.platform.port_allocation import port_flags, unavailable_ports, with_free_ports  # noqa: E402
from local.platform.settings import FOLDER, Folder, PlatformError, Ports  # noqa: E402

LOOP_MEMORY = 1_700_000_000
"""Bytes that the loop's processes take with the tiny model, by estimate; a retraining takes as much again."""
LOOP_DISK = 500_000_000


@dataclass(frozen=True, slots=True)
class Problem:
    """What prevents it, for people; `resource`: too little memory or disk, which CHECKS=off overrules."""

    text: str
    resource: bool = False


def check_environment(needs: int, *, new: bool) -> list[Problem]:
    """What prevents making .venv, which takes `needs` bytes; `new` where there is none yet."""
    problems: list[Problem] = []
    if not os.access(ROOT, os.W_OK) or ((ROOT / ".venv").exists() and not os.access(ROOT / ".venv", os.W_OK)):
        who = f"{_user_name()} (owner: {_owner(ROOT)})"
        problems.append(Problem(f"{ROOT} cannot be written by {who}: clone or copy it to a folder of your own"))
    if new and (missing := [name for name in ("venv", "ensurepip") if not _has_module(name)]):
        how = "install it (Debian, Ubuntu: apt install python3-venv), or name another: PYTHON=/path/to/python3.11"
        problems.append(Problem(f"{sys.executable} has no module {missing[0]}: {how}"))
    if (free := shutil.disk_usage(ROOT).free) < needs and not _checks_off():
        shortage = f"{gigabytes(free)} of disk are free for {ROOT}, {gigabytes(needs)} are needed"
        problems.append(Problem(shortage, resource=True))
    return problems


def check_loop(arguments: Sequence[str]) -> tuple[list[Problem], str]:
    """What prevents `mcqa up ARGUMENTS`, and the arguments that would take free ports instead of busy ones."""
    given = _options(arguments)
    folder = Folder(Path(given.dir or os.environ.get("MCQA_LOCAL_DIR") or FOLDER).expanduser().absolute())
    place = folder.path if folder.path.exists() else _nearest_existing(folder.path)
    if not os.access(place, os.W_OK):
        who = f"{_user_name()} (owner: {_owner(place)})"
        return [Problem(f"{place} cannot be written by {who}: give another folder with --dir")], ""
    if folder.running() or given.restart:
        return [], ""
    problems: list[Problem] = []
    other_ports = ""
    try:
        ports = _ports(given, folder.settings().ports)
    except PlatformError as error:
        return [Problem(str(error))], ""
    if given.no_ui:
        ports = replace(ports, ui=0)
    if not given.free_ports and (taken := unavailable_ports(folder, ports)):
        problems += map(Problem, taken.values())
        other_ports = port_flags(with_free_ports(ports, list(taken)), list(taken))
    available = memory()
    if available is not None and available < LOOP_MEMORY and not _checks_off():
        shortage = f"{gigabytes(available)} of memory are available, the loop takes {gigabytes(LOOP_MEMORY)}"
        problems.append(Problem(shortage, resource=True))
    return problems, other_ports


def explain(problems: Sequence[Problem], arguments: Sequence[str], other_ports: str, verb: str) -> str:
    """Every problem for people, with the line to type."""
    lines = [f"{verb} cannot start yet:", *(f"  - {problem.text}" for problem in problems)]
    if other_ports:
        rest = shlex.join([*_without(arguments, other_ports.split()[::2]), *other_ports.split()])
        lines += [
            f'Other ports:  {verb} ARGS="{rest}"',
            f'or any:       {verb} ARGS="{shlex.join([*arguments, "--free-ports"])}"',
        ]
    if any(problem.resource for problem in problems):
        lines.append(f"Run it anyway: CHECKS=off {verb}")
    return "\n".join(lines)


def memory() -> int | None:
    """Bytes of memory that are available, within the container's limit where there is one; None where it is unknown."""
    available = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError):
        pass
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            available.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return min(available) if available else None


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """Those of `mcqa up` that matter here; `mcqa up` itself reports what is wrong with them."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--dir")
    parser.add_argument("--free-ports", action="store_true")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--no-ui", action="store_true")
    for name in _FLAGS:
        parser.add_argument(f"--{name}", type=int)
    try:
        return parser.parse_known_args(list(arguments))[0]
    except argparse.ArgumentError:
        return parser.parse_known_args([])[0]


_FLAGS = {"port": "gateway", "api-port": "api", "broker-port": "broker", "mlflow-port": "mlflow",
          "pipelines-port": "pipelines", "ui-port": "ui"}  # fmt: skip


def _ports(given: argparse.Namespace, before: Ports) -> Ports:
    chosen = {name: getattr(given, flag.replace("-", "_")) for flag, name in _FLAGS.items()}
    return replace(before, **{name: port for name, port in chosen.items() if port is not None})


def _without(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The arguments without these options and their values."""
    kept = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        if word not in flags and before not in flags and word.partition("=")[0] not in flags:
            kept.append(word)
    return kept


def _nearest_existing(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.exists())


def _has_module(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError, NotImplementedError):
        return "unknown"


def _checks_off() -> bool:
    return os.environ.get("CHECKS") == "off"
