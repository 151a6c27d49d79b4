"""The broker as an ASGI application: ingress on `/{namespace}/{broker}`, the admin interface on `/-`."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from local.broker.admin import PREFIX, ROOT_PATHS, admin
from local.broker.ingress import Ingress
from local.broker.service import BrokerService


class App:
    """Serves a broker that runs; its life is the caller's business, so a server needs no lifespan events."""

    def __init__(self, broker: BrokerService) -> None:
        self._ingress = Ingress(broker)
        self._admin = admin(broker)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", f"the broker speaks HTTP, not {scope['type']}"
        path: str = scope["path"]
        if path.startswith(PREFIX) or path in ROOT_PATHS:
            await self._admin(scope, receive, send)
        else:
            await self._ingress(scope, receive, send)
