"""The broker as an ASGI application: ingress on `/{namespace}/{broker}`, the admin interface on `/-`.

`protected_app` puts it behind the access check of every server here: as on a cluster, events need no token; everything
else does.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from local.access_middleware import AccessMiddleware
from local.broker.admin import PREFIX, PROBES, ROOT_PATHS, admin
from local.broker.ingress import Ingress
from local.broker.service import BrokerService


class BrokerApp:
    """Serves a running broker. The caller starts and stops the broker, so the server needs no lifespan events."""

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
    """Whether a path belongs to the admin interface: routing and the token check share this one decision."""
    return path.startswith(PREFIX) or path in ROOT_PATHS


def protected_app(broker: BrokerService, token: str, hosts: Iterable[str] = ()) -> AccessMiddleware:
    """The application as it is served. `hosts` are additional names of this machine."""
    return AccessMiddleware(
        BrokerApp(broker),
        hosts=hosts,
        token=token,
        is_public=lambda method, path: path in PROBES or not is_admin(path),
        max_body=broker.settings.max_body,
        hint="send `Authorization: Bearer …` with the content of the file `token` next to the broker's database",
    )
