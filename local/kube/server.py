"""The API as a uvicorn server on 127.0.0.1: one call for the supervisor, one process for `python -m local.kube`."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from local.access_middleware import AccessMiddleware
from local.connection_limits import LimitedHttpProtocol
from local.kube.app import make_app
from local.kube.credentials import load_or_create, write_kubeconfig
from local.kube.errors import StatusError
from local.kube.requests import MAX_BODY
from local.kube.store import ResourceStore
from local.origins import allowed_hosts
from local.ports import listen

HOST = "127.0.0.1"
_REASONS = {400: "BadRequest", 403: "Forbidden", 413: "RequestEntityTooLarge", 501: "NotImplemented"}


class ApiServer(uvicorn.Server):
    """Serves the store under `folder`: `kube/` holds its state, `kubeconfig` the way in, `namespace` what
    kubectl takes without -n.

    `pages` are further paths and the functions that return their JSON.

    The port is bound at once (OSError when it is taken; 0 takes a free one). TokenError, HostsError. `run()` serves
    until SIGTERM or SIGINT, `await serve()` inside another event loop until `should_exit` is set.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        namespace: str = "default",
        store: ResourceStore | None = None,
        pages: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        self._socket = listen(HOST, port)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"https://{HOST}:{self.port}"
        self.kubeconfig = folder / "kubeconfig"
        access = load_or_create(folder / "kube")
        self.store = store or ResourceStore(folder / "kube" / "kube.sqlite")
        self._app = make_app(self.store, access.token, pages)
        app = AccessMiddleware(
            self._app,
            hosts=allowed_hosts(os.environ),
            max_body=MAX_BODY,
            error_body=lambda denial: StatusError(denial.status, _REASONS[denial.status], denial.reason).status(),
        )
        write_kubeconfig(self.kubeconfig, access, self.url, namespace)
        super().__init__(
            uvicorn.Config(
                app,
                http=LimitedHttpProtocol,
                ws="none",
                proxy_headers=False,
                ssl_certfile=access.certificate,
                ssl_keyfile=access.key,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=3,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or [self._socket])

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets or [self._socket])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.change_notifier.close()
        idle = asyncio.create_task(self._drop_idle())
        await super().shutdown(sockets)
        idle.cancel()

    async def _drop_idle(self) -> None:
        """A TLS shutdown waits for the peer's, which a client's idle pooled connection never sends."""
        while True:
            for connection in list(self.server_state.connections):
                cycle, transport = getattr(connection, "cycle", None), getattr(connection, "transport", None)
                if transport and (cycle is None or cycle.response_complete) and not transport.get_write_buffer_size():
                    transport.abort()
            await asyncio.sleep(0.1)
