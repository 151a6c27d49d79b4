"""One question from a page: where the model is, its answer with what answered, and an explanation.

What goes wrong is an AskError with a code, so that its sentence is the page's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import SettingError, UnavailableError
from common.links import without_password
from common.model_card import ModelCard
from common.names import MODEL
from common.question import Answer, Question
from common.trace_context import trace_id
from mcqa import client
from mcqa.addresses import FOLDER_VARIABLE, QUESTIONS_VARIABLE
from mcqa.errors import CommandError, ServerError, ServerTimeoutError, ServerUnreachableError

PUBLIC_VARIABLE = "MCQA_PUBLIC_URL"
TIMEOUT = 120.0
"""Seconds: a model that was scaled to zero has to be loaded first. It is twice a server's own default for
one request, which no explanation outlives."""
MOST_TEXT = 1_000_000
"""Characters of an explanation: no server writes as many."""

ErrorCode = Literal[
    "no-address",
    "unreachable",
    "timeout",
    "broken-off",
    "busy",
    "deadline",
    "invalid",
    "not-served",
    "failed",
    "no-model-server",
    "page-full",
    "still-waiting",
]
Role = Literal["champion", "challenger"]


class AskError(Exception):
    """There is no answer.

    no-address       no setting says where the model is
    unreachable      nothing listens there
    timeout          something does, but did not answer in time
    broken-off       the connection ended in the middle of an explanation
    busy             503: the queue is full, or no replica could start; `retry_after` in seconds where it is known
    deadline         504: the model, or its start, took too long
    invalid          400 and its like: the question is refused, `detail` says why
    not-served       404: another server, or the model is not deployed
    failed           any other status
    no-model-server  what answered is not a model server
    page-full        too many people wait on this page: nothing was asked
    still-waiting    so does whoever asks, for earlier requests: nothing was asked

    `detail` is the server's own sentence.
    """

    def __init__(
        self, code: ErrorCode, detail: str = "", *, address: str = "", retry_after: float | None = None, status: int = 0
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.address, self.retry_after, self.status = code, detail, address, retry_after, status


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and what gave it. `seconds` is how long it took, seen from here.

    `answer_id` is what feedback refers to, `trace` finds its events. `role` is the version's in the rollout, None where
    that is unknown. `card` is a demonstration model's, `covered` whether the question is like those it was taught.
    """

    question: Question
    answer: Answer
    answer_id: str
    trace: str
    address: str
    seconds: float
    role: Role | None = None
    card: ModelCard | None = None
    covered: bool = True


@dataclass(frozen=True, slots=True)
class Explained:
    """`letter` and `version` are those of the explanation: while a canary runs, another version may have written it.

    It was cut at the longest length where `complete` is false, and by the reader where it was `stopped`: its length in
    tokens is unknown then.
    """

    text: str
    letter: str
    version: str
    complete: bool
    tokens: int | None
    seconds: float
    stopped: bool = False


def address(environ: Mapping[str, str]) -> str | None:
    """Where the model answers: MCQA_URL, else the gateway of the loop in MCQA_LOCAL_DIR."""
    if url := environ.get(QUESTIONS_VARIABLE):
        return url.rstrip("/")
    if folder := environ.get(FOLDER_VARIABLE):
        from local.platform.settings import HOST, Folder

        return f"http://{HOST}:{Folder(Path(folder)).settings().ports.gateway}"
    return None


def public_address(environ: Mapping[str, str]) -> str | None:
    """Where people reach it: on a cluster MCQA_URL is often a name that only the cluster knows."""
    return without_password((environ.get(PUBLIC_VARIABLE) or address(environ) or "").rstrip("/")) or None


def ask(environ: Mapping[str, str], question: Question, timeout: float = TIMEOUT) -> Answered:
    """The model's answer; AskError."""
    server = _connect(environ, timeout)
    with _errors(server.address):
        start = time.perf_counter()
        (answer,) = server.ask([question])
        seconds = time.perf_counter() - start
    card = server.card(answer.model_version)
    return Answered(
        question,
        answer,
        server.last_id,
        trace_id(server.last_id) or "",
        server.address,
        seconds,
        role(environ, answer.model_version),
        card,
        card is None or card.covers(question),
    )


def explain(
    environ: Mapping[str, str],
    question: Question,
    tokens: int = 256,
    timeout: float = TIMEOUT,
    *,
    on_text: Callable[[str], object] = lambda piece: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Explained:
    """A text of at most `tokens` tokens; AskError, also where it takes longer than `timeout` once it has begun, or is
    longer than MOST_TEXT. `on_text` gets it in pieces while it is written.

    Once `stopped`, the server writes no further, and the text is what there was; it is asked at every piece, and every
    few seconds. The question counts as a test: it was asked and counted before.
    """
    server = _connect(environ, timeout, test=True)
    start = time.perf_counter()
    answer: Answer | None = None
    text: list[str] = []
    room = MOST_TEXT
    stream = server.explain_stream(question, max_new_tokens=tokens, seconds=timeout)
    with _errors(server.address), closing(stream) as parts:
        try:
            for part in parts:
                seconds = time.perf_counter() - start
                match part:
                    case Answer():
                        answer = part
                    case str():
                        if (room := room - len(part)) < 0:
                            raise CommandError("the explanation is too long")
                        if part:
                            text.append(part)
                            on_text(part)
                    case {"explanation": whole, "finish_reason": reason, "completion_tokens": length}:
                        if len(str(whole)) > MOST_TEXT:
                            raise CommandError("the explanation is too long")
                        letter, version = str(part["letter"]), str(part["model_version"])
                        return Explained(str(whole), letter, version, reason == "stop", int(length), seconds)
                if answer is not None and stopped():
                    version = answer.model_version
                    return Explained("".join(text), answer.letter, version, False, None, seconds, stopped=True)
        except ServerUnreachableError as error:
            if answer is None:
                raise
            raise AskError("broken-off", str(error), address=server.address) from None
        raise CommandError("the explanation has no end")


def role(environ: Mapping[str, str], version: str) -> Role | None:
    """The version's role when the rollout function last looked; None where nobody can say."""
    from functions.database import connect, transaction
    from functions.rollout.store import read_status

    try:
        engine = connect(environ)
        try:
            with transaction(engine) as connection:
                status = read_status(connection, environ.get("MCQA_REGISTERED_MODEL") or MODEL)
        finally:
            engine.dispose()
    except (SettingError, UnavailableError):
        return None
    if status is None:
        return None
    roles: tuple[Role, ...] = ("champion", "challenger")
    return next((name for name in roles if status[name] == version), None)


def _connect(environ: Mapping[str, str], timeout: float, *, test: bool = False) -> client.V1Client:
    where = address(environ)
    if where is None:
        raise AskError("no-address")
    return client.V1Client(where, timeout=timeout, purpose="test" if test else None)


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """The client's errors, and answers of another shape, as AskError."""
    try:
        yield
    except ServerTimeoutError as error:
        raise AskError("timeout", str(error), address=where) from None
    except ServerUnreachableError as error:
        raise AskError("unreachable", str(error), address=where) from None
    except ServerError as error:
        code = _CODES.get(error.status) or ("invalid" if 400 <= error.status < 500 else "failed")
        raise AskError(code, str(error), address=where, retry_after=error.retry_after, status=error.status) from None
    except (CommandError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise AskError("no-model-server", str(error), address=where) from None


_CODES: dict[int, ErrorCode] = {404: "not-served", 408: "deadline", 429: "busy", 503: "busy", 504: "deadline"}
