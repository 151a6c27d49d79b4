"""An explanation while it is written, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events).

    answer   the answer, before any of the text
    text     {"text": …}: what was written since the last one; never part of a character
    end      the body that the request would have had without `stream`
    error    {"error": …, "status": …}: instead of `end`, with the status that the response would have had

Everything that can be refused is refused before the first of them, by a status. While nothing is written, a comment is
sent every HEARTBEAT_SECONDS, so that no proxy takes the connection for a dead one, and a client that only listens can
change its mind.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Literal

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from common.inference_protocol import EVENT_STREAM
from common.question import Explanation
from predictor.request_queue import Job
from predictor.serving.errors import RequestError

HEARTBEAT_SECONDS = 2.0
COMMENT = b":\n\n"

EventName = Literal["answer", "text", "end", "error"]


def encode_event(name: EventName, data: Mapping[str, Any]) -> bytes:
    """JSON has no line ends but escaped ones, so one `data` line holds it."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def error_event(error: RequestError) -> bytes:
    return encode_event("error", {"error": error.message, "status": int(error.status)})


class TextQueue:
    """What the engine's thread writes, for the event loop that made this."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()

    def put(self, piece: str | None) -> None:
        """From any thread; None after the last piece."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends, and nobody reads any more
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    async def read(self, job: Job) -> AsyncIterator[str]:
        """Pieces as they come, several as one where they came faster than they were read; "" for a heartbeat.

        Ends with the job; TimeoutError at its deadline, which the engine keeps too, but only between two tokens.
        """
        ended = False
        while not ended:
            left = job.deadline - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, min(left, HEARTBEAT_SECONDS))):
                    pieces = [await self._pieces.get()]
            except TimeoutError:
                if left <= HEARTBEAT_SECONDS:
                    raise
                yield ""
                continue
            while not self._pieces.empty():
                pieces.append(self._pieces.get_nowait())
            ended = None in pieces
            if text := "".join(piece for piece in pieces if piece):
                yield text


class ExplanationStream(Response):
    """The events of one explanation. `finish` makes the last one's data of what the job has written.

    Whatever ends the response also ends the job, so a client that is gone costs no further token.
    """

    def __init__(
        self,
        answer: Mapping[str, Any],
        job: Job,
        pieces: TextQueue,
        finish: Callable[[Explanation], Mapping[str, Any]],
        ended: Callable[[], None],
    ) -> None:
        # Proxies built on nginx collect a response unless this header forbids it.
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"}, media_type=EVENT_STREAM)
        del self.headers["content-length"]
        self._answer, self._job, self._pieces, self._finish, self._ended = answer, job, pieces, finish, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(body: bytes, more: bool = True) -> None:
            async with asyncio.timeout(max(0.0, self._job.deadline - time.monotonic())):  # a client that does not read
                await send({"type": "http.response.body", "body": body, "more_body": more})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._write(write)
        finally:
            self._job.future.cancel()
            self._ended()

    async def _write(self, write: Callable[..., Awaitable[None]]) -> None:
        await write(encode_event("answer", self._answer))
        async with contextlib.aclosing(self._pieces.read(self._job)) as texts:  # type: ignore[type-var]
            async for text in texts:
                await write(encode_event("text", {"text": text}) if text else COMMENT)
        explanation = self._job.future.result()  # raises what ended the job
        await write(encode_event("end", self._finish(explanation)), more=False)
