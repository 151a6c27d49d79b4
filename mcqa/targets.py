"""Which loop a verb talks to, on this machine and in this environment: gives `addresses.resolve` its facts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.names import NAMESPACE
from local.platform import listeners
from local.platform.settings import BROKER, FOLDER, HOST, ROOT, Folder
from mcqa import addresses, loop, terminal
from mcqa.addresses import AddressSource, Endpoint, Target
from mcqa.errors import CommandError, unavailable_as_command_error

if TYPE_CHECKING:
    from sqlalchemy import Connection


def questions(flag: str | None = None, directory: Path | None = None, *, grpc: bool = False) -> Target:
    """Where questions go. CommandError when another program listens at the address of the loop that was selected."""
    target = _resolve(addresses.GRPC if grpc else addresses.QUESTIONS, "gateway", flag, directory)
    if target.folder and grpc:
        raise CommandError(
            f"{_loop_name(target)} speaks v1 and v2 over REST only: leave out --protocol grpc, or give --url HOST:PORT "
            "of a server that `mcqa serve` started"
        )
    if target.source is AddressSource.DEFAULT and target.address and (owner := _other_owner(_port(target.address))):
        reason = f"{target.address} belongs to {owner}, not to this checkout"
        return Target(None, AddressSource.DEFAULT, reason=reason)
    return target


def sink(directory: Path | None = None) -> Target:
    """The broker that takes events. CommandError when there is none."""
    target = _resolve(addresses.EVENTS, "broker", None, directory)
    if target.address is None:
        raise CommandError(f"there is no broker to send to: {target.reason}; `mcqa up` starts a loop here")
    return target


def environment_names_a_loop() -> bool:
    """Whether the environment names a database or broker, which is then the loop instead of this machine's."""
    return any(os.environ.get(variable) for variable in (addresses.DATABASE_VARIABLE, addresses.SINK_VARIABLE))


def takes_feedback(target: Target) -> bool:
    """Whether the loop that answers at a target is the one that `mcqa feedback` would send to."""
    if target.source is not AddressSource.FLAG or not target.address:
        has_sink = target.source is AddressSource.ENVIRONMENT and bool(os.environ.get(addresses.SINK_VARIABLE))
        return has_sink or target.source is AddressSource.LOOP
    if any(os.environ.get(variable) for variable in addresses.LOOP_VARIABLES):
        return False
    folder = loop.folder()
    return bool(folder.running()) and target.address.rstrip("/").split("://")[-1] in (
        f"{host}:{folder.settings().ports.gateway}" for host in (HOST, "localhost")
    )


@contextmanager
def database(target: Target) -> Iterator[Callable[[Callable[[Connection], Any]], Any] | None]:
    """Runs a function of a connection in a transaction of the database behind a sink; None where none is named.

    CommandError where it is unavailable.
    """
    from functions.database import connect, transaction

    if target.source is not AddressSource.LOOP and not os.environ.get(addresses.DATABASE_VARIABLE):
        yield None
        return
    with unavailable_as_command_error():
        engine = connect(environ(target.folder))

        def run(query: Callable[[Connection], Any]) -> Any:
            with transaction(engine) as connection:
                return query(connection)

        try:
            yield run
        finally:
            engine.dispose()


def environ(directory: Path | None = None) -> dict[str, str]:
    """The variables by which the loop's parts find each other (K_SINK, MLFLOW_TRACKING_URI, MCQA_DATABASE_URL, …).

    Those of the local platform in `directory` where it is given. Else the process's own where MCQA_DATABASE_URL
    is set there, or the local platform's; CommandError without any, or where the folder was moved since.
    """
    target = locate(addresses.DATABASE, directory=directory)
    if target.source is AddressSource.ENVIRONMENT:
        if target.address is None:
            raise CommandError(f"{target.reason}; `--dir FOLDER` names a loop on this machine")
        return dict(os.environ)
    folder = loop.folder(directory)
    if target.address is None:
        raise CommandError(
            f"there is no loop here: start one with `mcqa up`, or set MCQA_DATABASE_URL, MLFLOW_TRACKING_URI and "
            f"K_SINK to reach another (looked for {folder.environment})"
        )
    variables: dict[str, str] = json.loads(folder.environment.read_text())
    kubeconfig = Path(variables["KUBECONFIG"])
    if kubeconfig.resolve() != folder.kubeconfig.resolve():
        loop.require_not_moved(folder)
        raise CommandError(f"{loop.name(folder)} was moved here from {kubeconfig.parent}: `mcqa up` updates its paths")
    return {**os.environ, **variables}


def locate(endpoint: Endpoint, flag: str | None = None, directory: Path | None = None) -> Target:
    """Where something is that the loop's folder knows, even while the loop is down: the address is the folder."""

    def known(path: Path) -> str | None:
        folder = loop.folder(path)
        return str(folder.path) if folder.environment.exists() else None

    return addresses.resolve(endpoint, known, flag=flag, directory=directory, environ=os.environ, checkout=FOLDER)


def describe(target: Target) -> str:
    """Where an address came from, in a few words."""
    if target.source is AddressSource.LOOP:
        return _loop_name(target)
    return {
        AddressSource.FLAG: target.setting,
        AddressSource.ENVIRONMENT: f"named by {target.setting}",
        AddressSource.DEFAULT: "the server on `mcqa serve`'s port",
    }[target.source]


def announce(directory: Path | None = None, endpoint: Endpoint = addresses.DATABASE, flag: str | None = None) -> None:
    """One line on stderr: which loop the verb reads."""
    target = locate(endpoint, flag, directory)
    if target.source in (AddressSource.ENVIRONMENT, AddressSource.FLAG):
        described = describe(target)
        terminal.note(f"the loop {described}" if endpoint is addresses.DATABASE else f"{target.address}, {described}")
        return
    folder = loop.folder(directory)
    terminal.note(f"{loop.name(folder)}{'' if folder.running() else ', which is not running'}")


def _resolve(endpoint: Endpoint, port_name: str, flag: str | None, directory: Path | None) -> Target:
    def running(path: Path) -> str | None:
        folder = loop.folder(path)
        if not folder.running():
            return None
        loop.require_not_moved(folder)
        port = getattr(folder.settings().ports, port_name)
        _require_own_port(folder, port)
        return f"http://{HOST}:{port}" + (f"/{NAMESPACE}/{BROKER}" if port_name == "broker" else "")

    return addresses.resolve(endpoint, running, flag=flag, directory=directory, environ=os.environ, checkout=FOLDER)


def _require_own_port(folder: Folder, port: int) -> None:
    """CommandError when another program has the port of a running loop: its own part died, and the port was taken.

    Where the system does not say who listens, the loop is trusted: it holds its folder's lock and could not have
    started without the port.
    """
    try:
        status = json.loads(folder.status.read_text())
    except (OSError, ValueError):
        status = {}
    likely = [status.get("pid"), *(part.get("pid") for part in status.get("parts", ()))]
    listener = listeners.find_listeners([port], [pid for pid in likely if pid]).get(port)
    if listener is None or (listener.folder and listener.folder.resolve() == folder.path.resolve()):
        return
    raise CommandError(f"port {port} of {loop.name(folder)} is no longer its own: {listener} has it; see `mcqa status`")


def _other_owner(port: int) -> str | None:
    """Names who has a port where that is not this checkout's model server; None where it is, or is unknown."""
    listener = listeners.find_listeners([port]).get(port)
    if listener is None or (listener.checkout and listener.checkout.resolve() == ROOT):
        return None
    return str(listener)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _loop_name(target: Target) -> str:
    return loop.name(loop.folder(target.folder))
