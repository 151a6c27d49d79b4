"""Handlers of the API's paths, and the form of their refusals."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.pipelines.errors import INTERNAL, UNAVAILABLE, KfpApiError
from local.pipelines.requests import read_json, read_upload
from local.storage import TRANSIENT_CODES, StorageError, failure_code

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Any]]
"""Gives a JSON message, or a Response of its own."""
Endpoint = tuple[str, str, Handler]
"""Method, path below a prefix, handler."""


def route(method: str, path: str, handler: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            result = await handler(request)
        except KfpApiError as error:
            return JSONResponse(error.body(), error.status)
        except Exception as error:
            if isinstance(error, StorageError) or failure_code(error) in TRANSIENT_CODES:
                unavailable = KfpApiError(UNAVAILABLE, f"not now, try again: {error}")
                return JSONResponse(unavailable.body(), unavailable.status, {"retry-after": "1"})
            log.exception("%s %s failed", request.method, request.url.path)
            return JSONResponse(KfpApiError(INTERNAL, "the platform failed; its log says why").body(), 500)
        return result if isinstance(result, Response) else JSONResponse(result if result is not None else {})

    return Route(path, endpoint, methods=[method])


def plain(act: Callable[[Request], Any]) -> Handler:
    async def handler(request: Request) -> Any:
        return await run_in_threadpool(act, request)

    return handler


def by_id(act: Callable[[str], Any]) -> Handler:
    return plain(lambda request: act(path_id(request)))


def with_body(act: Callable[[Request, dict[str, Any]], Any]) -> Handler:
    async def handler(request: Request) -> Any:
        return await run_in_threadpool(act, request, await read_json(request))

    return handler


def with_package(act: Callable[[Request, str, bytes], Any]) -> Handler:
    async def handler(request: Request) -> Any:
        filename, content = await read_upload(request)
        return await run_in_threadpool(act, request, filename, content)

    return handler


def path_id(request: Request) -> str:
    return str(request.path_params["id"])
