"""KServe's ModelServer with our transports, an orderly shutdown, and no settings but our own."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from typing import Any

from predictor.serving.dataplane import McqaDataPlane
from predictor.serving.grpc import GrpcServer, RequestInterceptor
from predictor.serving.kserve_sdk import ModelServer
from predictor.serving.middleware import RequestMiddleware
from predictor.serving.model import McqaModel
from predictor.serving.rest import RestServer
from predictor.serving.settings import Settings
from predictor.serving.startup import LoadedModel, StartupTimeline
from predictor.serving.telemetry import Telemetry
from predictor.serving.tracing import Tracing, tracing_wanted

log = logging.getLogger(__name__)


class Server(ModelServer):  # type: ignore[misc]  # untyped
    """Serves one loaded model until SIGTERM or SIGINT.

    On the first signal it is no longer ready, new work gets 503, accepted work is finished, then the ports close. On
    the second, or after the grace period, the remaining work is abandoned.
    """

    def __init__(self, loaded: LoadedModel, settings: Settings, timeline: StartupTimeline, sock: socket.socket) -> None:
        super().__init__(
            http_port=settings.http_port,
            grpc_port=settings.grpc_port,
            workers=1,
            enable_grpc=settings.grpc_port > 0,
            enable_docs_url=False,
            enable_latency_logging=False,
            grace_period=int(settings.grace_period),
        )
        self._settings = settings
        self._timeline = timeline
        self._engine = loaded.engine
        version = loaded.scorer.model_version
        self._tracing = Tracing(settings.model_name, version) if tracing_wanted() else None
        self._telemetry = Telemetry(loaded.metrics, self._tracing, version)
        self._answer_headers = {"x-model-version": version}
        if settings.revision:
            self._answer_headers["x-revision"] = settings.revision
        self.model = McqaModel(loaded.scorer, loaded.engine, settings)
        loaded.metrics.ready.set_function(lambda: float(self.model.answering))
        self.register_model(self.model)
        self.dataplane = McqaDataPlane(self.registered_models, self.model)
        self._rest = RestServer(self.dataplane, settings, sock, self._middleware, self._started)
        interceptor = RequestInterceptor(settings, self._telemetry, self.model, self._answer_headers)
        self._grpc = GrpcServer(self.dataplane, settings, interceptor)

    def run(self) -> int:
        """Serves until a signal; the exit status, 0 if all accepted work was answered."""
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(self._run())
        finally:
            self._engine.close(timeout=2.0)
            if self._tracing:
                self._tracing.close()

    async def _run(self) -> int:
        stop, force = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: (force if stop.is_set() else stop).set())
        if self.enable_grpc:
            await self._grpc.open()
        rest = asyncio.create_task(self._rest.start())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((rest, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not rest.done():
            drained = await self._drain(force)
            self._rest.stop(force=not drained)
            await self._grpc.close(1.0 if drained else 0.0)
            await rest
            return 0 if drained else 1
        stopped.cancel()
        await self._grpc.close(0.0)
        rest.result()
        return 1

    async def _drain(self, force: asyncio.Event) -> bool:
        """Whether everything accepted was answered within the grace period."""
        deadline = time.monotonic() + self._settings.grace_period
        self.model.draining = True
        log.info("stopping", extra={"fields": {"in_flight": self._telemetry.in_flight}})
        while self._telemetry.in_flight or not self._engine.idle:
            if force.is_set() or time.monotonic() > deadline:
                fields = {"in_flight": self._telemetry.in_flight}
                log.error("stopped before all work was done", extra={"fields": fields})
                self._engine.fail_waiting()
                await asyncio.sleep(0.1)
                return False
            await asyncio.sleep(0.02)
        self._engine.drain()
        log.info("stopped")
        return True

    def _middleware(self, app: Any) -> RequestMiddleware:
        return RequestMiddleware(app, self._settings, self._telemetry, self.model, self._answer_headers)

    def _started(self) -> None:
        self._timeline.mark("ready")
        self._timeline.log()
        settings, scorer = self._settings, self.model.scorer
        log.info(
            "serving",
            extra={
                "fields": {
                    "model": settings.model_name,
                    "model_version": self.model.version,
                    "device": scorer.device,
                    "dtype": scorer.dtype,
                    "why": scorer.hardware.reason,
                    "http": f"http://{settings.host}:{settings.http_port}",
                    "grpc": f"{settings.host}:{settings.grpc_port}" if self.enable_grpc else "off",
                }
            },
        )


def listen(settings: Settings) -> socket.socket:
    """The REST socket, bound early so that a port in use is reported before the model loads; raises OSError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.http_port))
    except OSError as error:
        sock.close()
        address = f"{settings.host}:{settings.http_port}"
        raise OSError(f"cannot listen on {address}: {error.strerror}; choose another --http-port") from None
    return sock


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
