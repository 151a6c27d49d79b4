"""A port whose server says nothing, and later is another one: a part of the loop that comes back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class Relay:
    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._held: list[socket.socket] = []
        self._target: tuple[str, int] | None = None
        self._guard = threading.Lock()
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def forward(self, url: str) -> None:
        """From now on it is the server at `url`; whoever was kept waiting loses the connection."""
        parts = urlsplit(url)
        with self._guard:
            self._target = (str(parts.hostname), int(parts.port or 80))
        self._close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._server.accept()[0]
                with self._guard:
                    self._held.append(client)
                    target = self._target
                if target is not None:
                    other = socket.create_connection(target)
                    for source, sink in ((client, other), (other, client)):
                        threading.Thread(target=_copy, args=(source, sink), daemon=True).start()

    def _close(self) -> None:
        with self._guard:
            held, self._held = self._held, []
        for connection in held:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def end(self) -> None:
        self._close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relay() -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Relay(server)
        try:
            yield made
        finally:
            server.shutdown(socket.SHUT_RDWR)
            made.end()
