"""The bodies of requests: JSON, an uploaded file. No body may be larger than MAX_BODY."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from local.pipelines.errors import RESOURCE_EXHAUSTED, KfpApiError, invalid_argument

MAX_BODY = 32 * 1024 * 1024


async def read_json(request: Request) -> dict[str, Any]:
    """The body, a JSON object (an absent one is empty)."""
    body = await read_body(request)
    try:
        content = json.loads(body, parse_constant=_refuse) if body.strip() else {}
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"the body is not JSON: {str(error)[:120]}") from None
    if not isinstance(content, dict):
        raise invalid_argument("the body must be a JSON object")
    return content


async def read_upload(request: Request) -> tuple[str, bytes]:
    """Name and content of the file `uploadfile` of a multipart form."""
    body = await read_body(request)

    async def stream() -> AsyncIterator[bytes]:
        yield body
        yield b""

    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise invalid_argument("send the pipeline as the file `uploadfile` of a multipart/form-data body")
    try:
        parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=20)  # type: ignore[arg-type]
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise invalid_argument(f"the multipart body cannot be read: {str(error)[:120]}") from None
    try:
        upload = form.get("uploadfile")
        if not isinstance(upload, UploadFile):
            raise invalid_argument("the multipart body has no file `uploadfile`")
        return upload.filename or "", await upload.read()
    finally:
        await form.close()


def query(request: Request) -> dict[str, str]:
    """The query's parameters; the last one of a name counts."""
    parameters = dict(request.query_params)
    for name, value in parameters.items():
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            raise invalid_argument("the query is not UTF-8") from None
    return parameters


async def read_body(request: Request) -> bytes:
    """The body as it is."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise KfpApiError(RESOURCE_EXHAUSTED, f"the body is larger than {MAX_BODY} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
