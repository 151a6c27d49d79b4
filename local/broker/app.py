"""The broker as an ASGI application: ingress on `/{namespace}/{broker}`, the admin interface on `/-`.

`guarded` puts it behind the check that every server here has: events need no token, as on a cluster, all else does.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from local.broker.admin import PREFIX, PROBES, ROOT_PATHS, admin
from local.broker.ingress import Ingress
from local.broker.service import BrokerService
from local.loopback import Guard


class App:
    """Serves a broker that runs; its life is the caller's business, so a server needs no lifespan events."""

    def __init__(self, broker: BrokerService) -> None:
        self._ingress = Ingress(broker)
        self._admin = admin(broker)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", f"the broker speaks HTTP, not {scope['type']}"
        path: str = scope["path"]
        if is_admin(path):
            await self._admin(scope, receive, send)
        else:
            await self._ingress(scope, receive, send)


def is_admin(path: str) -> bool:
    """Whether a path is the admin interface's: asked in one place for routing and for the token."""
    return path.startswith(PREFIX) or path in ROOT_PATHS


def guarded(broker: BrokerService, token: str, hosts: Iterable[str] = ()) -> Guard:
    """The application as it is served. `hosts` are further names of this machine."""
    return Guard(
        App(broker),
        hosts=hosts,
        token=token,
        is_open=lambda method, path: path in PROBES or not is_admin(path),
        max_body=broker.settings.max_body,
        how="send `Authorization: Bearer …` with what is in the file `token` beside the broker's database",
    )
