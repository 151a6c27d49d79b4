"""Who listens on this machine's ports, as the kernel reports it.

The standard library only, because it runs before set-up too; psutil, which could do most of it, is not there then.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local.ports import free_ports, try_listen

CHECKOUT_VARIABLE = "MCQA_CHECKOUT"
"""In the environment of every model server that `mcqa` starts: whose it is."""
_LISTEN = "0A"
_HERE = ("0100007F", "00000000")
_HERE_6 = ("00000000000000000000000001000000", "0" * 32, "0000000000000000FFFF00000100007F")


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens. Fields that the kernel does not reveal are empty; pid 0 is another user's process."""

    pid: int
    command: tuple[str, ...] = ()
    folder: Path | None = None
    """Of the loop that it is a part of."""
    checkout: Path | None = None
    """Whose code it runs, where it is a model server of ours."""
    user: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return f"a process of user {self.user}" if self.user else "another process"
        if self.folder:
            return f"the loop in {self.folder} (process {self.pid})"
        if self.checkout:
            return f"a model server of {self.checkout} (process {self.pid})"
        return f"{_shortened(self.command) or 'a process'} (process {self.pid})"


def is_supported() -> bool:
    """Whether this system reports who listens: Linux does."""
    return Path("/proc/net/tcp").exists()


def find_listeners(ports: Collection[int], likely: Iterable[int] = ()) -> dict[int, Listener]:
    """Who listens on these loopback ports, by port; ports on which nobody does are left out, as all are where
    `is_supported` is false. `likely` are process ids to look at first: the others need not be searched then.
    """
    sockets = _sockets(frozenset(ports)) if is_supported() else {}
    owners: dict[int, Listener] = {}
    pending = {inode: port for inode, (port, _) in sockets.items()}
    for pid in _pids(likely):
        if not pending:
            break
        for inode in _inodes(pid) & pending.keys():
            owners[pending.pop(inode)] = describe(pid)
    return {port: Listener(0, user=_user(uid)) for _, (port, uid) in sockets.items()} | owners


def describe(pid: int) -> Listener:
    """What is known of a process."""
    command, environ = _command_and_environment(pid)
    folders = (_folder(*_command_and_environment(ancestor)) for ancestor in _ancestors(pid))
    return Listener(pid, command, next(filter(None, folders), None), _checkout(command, environ))


def bind_problem(port: int, host: str = "127.0.0.1") -> str | None:
    """Why nobody can listen on this port now, in a few words; None where it is free."""
    try:
        try_listen(host, port)
    except OverflowError:
        return "is not a port: 1 to 65535"
    except PermissionError:
        return "needs privileges"
    except OSError as error:
        return "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
    return None


BROWSER_BLOCKED_PORTS = frozenset(
    (1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080)
)
"""Ports above 1023 that browsers refuse to open (Fetch standard, "bad port"): MLflow's page would never appear."""


def next_free_port(port: int, taken: Collection[int] = ()) -> int:
    """The first free port from `port` on by whole thousands (8080, 9080, …), which is easy to remember; else any."""
    for candidate in range(port, 65536, 1000):
        if candidate not in taken and candidate not in BROWSER_BLOCKED_PORTS and bind_problem(candidate) is None:
            return candidate
    return free_ports(1)[0]


def _sockets(ports: frozenset[int]) -> dict[str, tuple[int, int]]:
    """inode -> (port, uid) of the listening sockets that a client of 127.0.0.1 reaches."""
    sockets = {}
    for name, addresses in (("tcp", _HERE), ("tcp6", _HERE_6)):
        for line in _read(Path(f"/proc/net/{name}")).splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].rpartition(":")
            if fields[3] == _LISTEN and int(port, 16) in ports and address in addresses:
                sockets[fields[9]] = (int(port, 16), int(fields[7]))
    return sockets


def _pids(likely: Iterable[int]) -> Iterator[int]:
    seen = dict.fromkeys(likely)
    yield from seen
    yield from (int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) not in seen)


def _inodes(pid: int) -> set[str]:
    inodes = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(link.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    return inodes


def _command_and_environment(pid: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """A process's command line and environment."""
    command = tuple(_read(Path(f"/proc/{pid}/cmdline")).split("\0")[:-1])
    pairs = (pair.split("=", 1) for pair in _read(Path(f"/proc/{pid}/environ")).split("\0") if "=" in pair)
    return command, dict(pairs)


def _ancestors(pid: int) -> Iterator[int]:
    """The process, what started it, and so on."""
    while pid > 1:
        yield pid
        # The name, in parentheses, may hold anything.
        fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0


def _folder(command: tuple[str, ...], environ: Mapping[str, str]) -> Path | None:
    """The supervisor has its folder as an argument; what it starts has the folder's kubeconfig and a pod's name."""
    if "local.platform" in command and "--dir" in command[:-1]:
        return Path(command[command.index("--dir") + 1])
    if "EMBEDDED_POD" in environ and environ.get("KUBECONFIG"):
        return Path(environ["KUBECONFIG"]).parent
    return None


def _checkout(command: tuple[str, ...], environ: Mapping[str, str]) -> Path | None:
    if "predictor" not in command:
        return None
    if CHECKOUT_VARIABLE in environ:
        return Path(environ[CHECKOUT_VARIABLE])
    python = Path(command[0])
    return python.parents[2] if python.is_absolute() and python.parent.parent.name == ".venv" else None


def _shortened(command: tuple[str, ...]) -> str:
    words = [Path(command[0]).name, *command[1:]] if command else []
    text = " ".join(" ".join(words).split())
    return text if len(text) <= 60 else text[:59] + "…"


def _user(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
