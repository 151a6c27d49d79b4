"""Sends requests to subscribers and sinks. Failures are values: nothing but cancellation is raised."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from local.broker.http_binding import Headers


@dataclass(frozen=True, slots=True)
class Response:
    """`status` is None if there was no response; `error` then says why. `headers` have lower-case names."""

    status: int | None
    headers: list[tuple[bytes, bytes]]
    body: bytes
    seconds: float
    error: str = ""
    truncated: bool = False

    def header(self, name: bytes) -> str | None:
        return next((value.decode("latin-1") for key, value in self.headers if key == name), None)


def connect_target(url: str, connect_to: tuple[tuple[str, str], ...]) -> tuple[str, str | None]:
    """Where to send a request for this URL, and the Host header to send if it differs."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    for domain, address in connect_to:
        if host == domain or host.endswith(f".{domain}"):
            return urlunsplit(parts._replace(netloc=address)), parts.netloc.rpartition("@")[2]
    return url, None


class Sender:
    """One connection pool for all; the delivery queues limit how many requests run at once."""

    def __init__(self, connect_to: tuple[tuple[str, str], ...], max_body: int) -> None:
        self._connect_to = connect_to
        self._max_body = max_body
        # Servers close idle connections after 2 s (gunicorn) to 5 s (uvicorn). Ours are closed earlier: a request on a
        # connection that is just being closed is lost and costs a retry.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1.0, ttl_dns_cache=10)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,  # aiohttp decompresses without a limit: a few kilobytes may become gigabytes
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def __aenter__(self) -> Sender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, headers: Headers, body: bytes, seconds: float) -> Response:
        """The response to a POST, within `seconds`; redirects are not followed."""
        start = time.perf_counter()
        target, host = connect_target(url, self._connect_to)
        if host is not None:
            headers = [*headers, ("host", host)]
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.post(
                    target, data=body, headers=headers, allow_redirects=False, timeout=_NO_TIMEOUT
                ) as response,
            ):
                content, truncated = await self._read(response)
                pairs = [(name.lower(), value) for name, value in response.raw_headers]
                return Response(response.status, pairs, content, time.perf_counter() - start, truncated=truncated)
        except TimeoutError:
            error = f"no response within {seconds:g} s"
        except aiohttp.ClientConnectorError as failure:
            error = f"cannot connect to {failure.host}:{failure.port}: {failure.os_error.strerror or failure.os_error}"
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        return Response(None, [], b"", time.perf_counter() - start, error[:300])

    async def _read(self, response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
        """The body as it was sent, truncated at the limit for events."""
        length = response.content_length
        if length is not None and length <= self._max_body:
            return await response.read(), False
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_body:
                response.close()
                return b"".join(chunks)[: self._max_body], True
        return b"".join(chunks), False


# asyncio.timeout() covers the whole exchange at half the cost.
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)
