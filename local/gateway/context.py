"""What all connections of the gateway share."""

from __future__ import annotations

import asyncio
import random

from local.gateway.activator import RevisionThrottler
from local.gateway.control_protocol import GatewayState, NamespacedName
from local.gateway.errors import UnavailableError
from local.gateway.payload_logger import PayloadLogger
from local.gateway.routing import RouteMatch
from local.gateway.settings import Settings
from local.gateway.upstream import UpstreamPool
from local.serving.traffic import pick_revision, revision_for_tag


class GatewayContext:
    """The state in force, the revisions, connections to replicas, and how much is buffered."""

    def __init__(self, settings: Settings, logger: PayloadLogger) -> None:
        self.settings, self.logger = settings, logger
        self.upstreams = UpstreamPool()
        self.revisions: dict[NamespacedName, RevisionThrottler] = {}
        self.stopping = False
        self.buffered_bytes = 0
        self.state_known = asyncio.Event()
        self.current = GatewayState()
        self._random = random.Random(settings.seed).random

    async def state(self) -> GatewayState:
        """The state in force; UnavailableError while the controller has sent none."""
        if not self.state_known.is_set():
            try:
                async with asyncio.timeout(self.settings.state_timeout):
                    await self.state_known.wait()
            except TimeoutError:
                raise UnavailableError("the gateway does not know the services yet") from None
        return self.current

    def choose_revision(self, match: RouteMatch) -> NamespacedName:
        """The revision that gets a request: the one tagged, or by random according to the traffic split."""
        name = (
            revision_for_tag(match.route.targets, match.tag)
            if match.tag
            else pick_revision(match.route.targets, self._random())
        )
        key = (match.key[0], name)
        if key not in self.revisions:
            raise UnavailableError(f"service {match.key[1]} in {match.key[0]} has no ready revision")
        return key
