"""Which loop the verbs speak to: the platform on this machine, or whatever flags and the environment name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.names import NAMESPACE
from local.platform import listeners
from local.platform.settings import BROKER, FOLDER, HOST, ROOT, Folder
from local.tokens import TokenError, read_token
from mcqa import addresses, local, terminal
from mcqa.addresses import Chosen, NotRunning, Role, Target
from mcqa.errors import CommandError

if TYPE_CHECKING:
    import httpx
    from sqlalchemy import Connection

FOLDER_VARIABLE = addresses.FOLDER_VARIABLE
DEMO_FOLDER = ROOT / ".local-demo"
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The loop's folder.",
        show_default=f"{FOLDER_VARIABLE}, or .local of the checkout",
        file_okay=False,
    ),
]


def folder(path: Path | None = None) -> Folder:
    """The platform's folder: `path`, else MCQA_LOCAL_DIR, else `.local` of the checkout."""
    chosen = path or Path(os.environ.get(FOLDER_VARIABLE) or FOLDER)
    return Folder(chosen.expanduser().absolute())


def named(found: Folder) -> str:
    """A loop as people name it."""
    return f"the loop in {local.shown(found.path)}"


def require_running(found: Folder) -> Folder:
    """NotRunning when the loop of this folder is not up; the demo's is mentioned where that one is."""
    if found.running():
        require_in_place(found)
        return found
    flag = "" if found.path == FOLDER else f" --dir {local.shown(found.path)}"
    demo = Folder(DEMO_FOLDER)
    other = f"; the demo's is up: --dir {local.shown(demo.path)}" if found.path == FOLDER and demo.running() else ""
    raise NotRunning(f"{named(found)} is not running: start it with `mcqa up{flag}`{other}")


def require_in_place(found: Folder) -> None:
    """CommandError when the folder's loop was started elsewhere: its processes write to where the folder was."""
    try:
        told = json.loads(found.status.read_text()).get("folder")
    except (OSError, ValueError):
        return
    if told and Path(told).resolve() != found.path.resolve():
        flag = "" if found.path == FOLDER else f" --dir {local.shown(found.path)}"
        raise CommandError(
            f"{named(found)} was moved here from {told} while it runs: `mcqa down{flag}`, then `mcqa up{flag}`"
        )


def questions(flag: str | None = None, directory: Path | None = None, *, grpc: bool = False) -> Target:
    """Where questions go. CommandError when something else listens at the address of the loop that was chosen."""
    target = _resolve(addresses.GRPC if grpc else addresses.QUESTIONS, "gateway", flag, directory)
    if target.folder and grpc:
        raise CommandError(
            f"{_place(target)} speaks v1 and v2 over REST only: leave --protocol grpc out, or give --url HOST:PORT of "
            "a server that `mcqa serve` started"
        )
    if target.chosen is Chosen.DEFAULT and target.address and (stranger := _stranger(_port(target.address))):
        return Target(None, Chosen.DEFAULT, why=f"{target.address} is {stranger}, none of this checkout's")
    return target


def elsewhere() -> bool:
    """Whether the environment names another loop than one on this machine."""
    return any(os.environ.get(name) for name in (addresses.DATABASE_VARIABLE, addresses.SINK_VARIABLE))


def sink(directory: Path | None = None) -> Target:
    """The broker that takes events. CommandError when there is none."""
    target = _resolve(addresses.EVENTS, "broker", None, directory)
    if target.address is None:
        raise CommandError(f"there is no broker to tell: {target.why}; `mcqa up` starts a loop here")
    return target


@contextmanager
def database(target: Target) -> Iterator[Callable[[Callable[[Connection], Any]], Any] | None]:
    """Runs a function of a connection in a transaction of the database behind a sink; None where nobody names it.

    CommandError where it is away.
    """
    from common.errors import UnavailableError
    from functions.database import connect, transaction

    if target.chosen is not Chosen.LOOP and not os.environ.get(addresses.DATABASE_VARIABLE):
        yield None
        return
    try:
        engine = connect(environ(target.folder))

        def run(act: Callable[[Connection], Any]) -> Any:
            with transaction(engine) as connection:
                return act(connection)

        try:
            yield run
        finally:
            engine.dispose()
    except UnavailableError as error:
        raise CommandError(str(error)) from None


def is_loops(target: Target) -> bool:
    """Whether what answers at a target is the loop that `mcqa feedback` would tell."""
    if target.chosen is not Chosen.FLAG or not target.address:
        told = target.chosen is Chosen.ENVIRONMENT and bool(os.environ.get(addresses.SINK_VARIABLE))
        return told or target.chosen is Chosen.LOOP
    if any(os.environ.get(name) for name in addresses.LOOP_VARIABLES):
        return False
    found = folder()
    return bool(found.running()) and target.address.rstrip("/").split("://")[-1] in (
        f"{name}:{found.settings().ports.gateway}" for name in (HOST, "localhost")
    )


def describe(target: Target) -> str:
    """How an address was chosen, in a few words."""
    if target.chosen is Chosen.LOOP:
        return _place(target)
    return {
        Chosen.FLAG: target.named,
        Chosen.ENVIRONMENT: f"by {target.named}",
        Chosen.DEFAULT: "the server on `mcqa serve`'s port",
    }[target.chosen]


def place_of(role: Role, flag: str | None = None, directory: Path | None = None) -> Target:
    """Where something is that the loop's folder knows, also while the loop is down: the address is the folder."""

    def known(path: Path) -> str | None:
        found = folder(path)
        return str(found.path) if found.environment.exists() else None

    return addresses.resolve(role, known, flag=flag, directory=directory, environ=os.environ, checkout=FOLDER)


def say(directory: Path | None = None, role: Role = addresses.DATABASE, flag: str | None = None) -> None:
    """One line on stderr: which loop the verb looks at."""
    target = place_of(role, flag, directory)
    if target.chosen in (Chosen.ENVIRONMENT, Chosen.FLAG):
        terminal.note(f"{target.address}, {describe(target)}" if role is not addresses.DATABASE else describe(target))
        return
    found = folder(directory)
    terminal.note(f"{named(found)}{'' if found.running() else ', which is not running'}")


def environ(path: Path | None = None) -> dict[str, str]:
    """The variables by which the loop's parts find each other (K_SINK, MLFLOW_TRACKING_URI, MCQA_DATABASE_URL, …).

    Those of the local platform in the folder `path` where it is given. Else the process's own where MCQA_DATABASE_URL
    is set there, or the local platform's; CommandError without any, or where the folder was moved since.
    """
    target = place_of(addresses.DATABASE, directory=path)
    if target.chosen is Chosen.ENVIRONMENT:
        if target.address is None:
            raise CommandError(f"{target.why}; `--dir FOLDER` names a loop of this machine")
        return dict(os.environ)
    place = folder(path)
    if target.address is None:
        raise CommandError(
            f"there is no loop here: start one with `mcqa up`, or set MCQA_DATABASE_URL, MLFLOW_TRACKING_URI and "
            f"K_SINK to reach another (looked for {place.environment})"
        )
    found: dict[str, str] = json.loads(place.environment.read_text())
    if Path(found["KUBECONFIG"]).resolve() != place.kubeconfig.resolve():
        require_in_place(place)
        raise CommandError(
            f"{named(place)} was moved here from {Path(found['KUBECONFIG']).parent}: `mcqa up` makes it know its place"
        )
    return {**os.environ, **found}


def token(path: Path) -> str:
    """What a server of the loop asks for; CommandError where it is not ours to read."""
    try:
        return read_token(path)
    except TokenError as error:
        raise CommandError(str(error)) from None


def broker(folder: Folder, timeout: float = 10.0) -> httpx.Client:
    """A client of the loop's broker, let in by its token."""
    return _client(folder.settings().ports.broker, token(folder.broker_token), timeout)


def pipelines(folder: Folder, timeout: float = 10.0) -> httpx.Client:
    """A client of the loop's pipelines' API, let in by its token."""
    return _client(folder.settings().ports.pipelines, token(folder.pipelines_token), timeout)


def pipelines_link(folder: Folder) -> str:
    """What to open in a browser: it is let in, and remembers it."""
    from local.access_middleware import login_link

    return login_link(f"http://{HOST}:{folder.settings().ports.pipelines}", token(folder.pipelines_token))


def _client(port: int, token: str, timeout: float) -> httpx.Client:
    import httpx

    return httpx.Client(
        base_url=f"http://{HOST}:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=timeout, trust_env=False
    )


def _resolve(role: Role, port: str, flag: str | None, directory: Path | None) -> Target:
    def running(path: Path) -> str | None:
        found = folder(path)
        if not found.running():
            return None
        require_in_place(found)
        number = getattr(found.settings().ports, port)
        _require_ours(found, number)
        return f"http://{HOST}:{number}" + (f"/{NAMESPACE}/{BROKER}" if port == "broker" else "")

    return addresses.resolve(role, running, flag=flag, directory=directory, environ=os.environ, checkout=FOLDER)


def _require_ours(found: Folder, port: int) -> None:
    """CommandError when another program has the port of a loop that is up: its own part died, and the port was taken.

    Where the system does not tell who listens, the loop's own word is taken: it holds its folder's lock and could not
    have come up without the port.
    """
    try:
        own = json.loads(found.status.read_text())
    except (OSError, ValueError):
        own = {}
    likely = [own.get("pid"), *(part.get("pid") for part in own.get("parts", ()))]
    listener = listeners.find_listeners([port], [pid for pid in likely if pid]).get(port)
    if listener is None or (listener.folder and listener.folder.resolve() == found.path.resolve()):
        return
    raise CommandError(f"port {port} of {named(found)} is not its own now: {listener} has it; see `mcqa status`")


def _stranger(port: int) -> str | None:
    """Who has a port, in words, where it is no model server of this checkout; None where it is, or nobody knows."""
    listener = listeners.find_listeners([port]).get(port)
    if listener is None or (listener.checkout and listener.checkout.resolve() == ROOT):
        return None
    return str(listener)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _place(target: Target) -> str:
    return named(folder(target.folder))
