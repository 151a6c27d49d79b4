"""The model that KServe serves: passes one request's questions through the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from common.inference_protocol import INPUT_TYPES, OUTPUT_TYPES
from common.question import Answer, Debias, Explanation, Question, QuestionError
from predictor.engine import Engine
from predictor.request_queue import Job
from predictor.serving.errors import DeadlineExceededError
from predictor.serving.event_stream import ExplanationStream, TextQueue
from predictor.serving.kserve_sdk import InferRequest, InferResponse, Model
from predictor.serving.request_context import current_request
from predictor.serving.settings import Settings
from predictor.serving.v1_protocol import explanations, parse_v1, predictions
from predictor.serving.v2_protocol import encode_v2, parse_v2

if TYPE_CHECKING:
    from predictor.scorer import Prompt, Scorer


class McqaModel(Model):  # type: ignore[misc]  # untyped
    """Answers questions with an engine that has answered one. `draining` makes it unready for new work only."""

    def __init__(self, scorer: Scorer, engine: Engine, settings: Settings) -> None:
        super().__init__(settings.model_name)
        self.scorer = scorer
        self.ready = True
        self.draining = False
        self.version = scorer.model_version
        self._engine = engine
        self._settings = settings
        # Tokenising is fast, but 256 long questions would hold up every other request on the event loop.
        self._tokenisers = ThreadPoolExecutor(2, thread_name_prefix="tokenise")

    @property
    def working(self) -> bool:
        """Whether accepted requests can still be answered."""
        return self.ready and self._engine.accepting

    @property
    def answering(self) -> bool:
        """Whether new requests are answered: what the readiness probes report."""
        return self.working and not self.draining

    async def healthy(self) -> bool:
        return self.answering

    def load(self) -> bool:
        # KServe calls this for a model that is not ready and believes the result; loading again would not help.
        return self.answering

    def start(self) -> None:
        """KServe's own sets `ready`, which here follows from the engine."""

    def get_input_types(self) -> list[dict[str, Any]]:
        return INPUT_TYPES

    def get_output_types(self) -> list[dict[str, Any]]:
        return OUTPUT_TYPES

    async def predict(self, payload: Any, headers: Any = None) -> dict[str, Any] | InferResponse:
        """Answers to a v1 body or a v2 request."""
        if isinstance(payload, InferRequest):
            return await self._infer(payload)
        request = parse_v1(payload, self._settings.max_questions, self._settings.max_new_tokens, explain=False)
        _, answers = await self._answer(request.questions, request.debias)
        return predictions(answers, self.version, request.purpose)

    async def explain(self, payload: Any, headers: Any = None) -> dict[str, Any]:
        """Answers to a v1 body, each with a text that argues for it."""
        request = parse_v1(payload, self._settings.max_questions, self._settings.max_new_tokens, explain=True)
        prompts, answers = await self._answer(request.questions, request.debias)
        items: list[Explanation] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            job = self._engine.submit_explanation(prompt, answer, request.max_new_tokens, current_request().deadline)
            items.append(await _result(job, "explain"))
        current_request().completion_tokens = sum(item.completion_tokens for item in items)
        return explanations(items, self.version, request.purpose)

    async def explain_stream(self, payload: Any) -> ExplanationStream:
        """The answer to a v1 body with one question, and a text that argues for it while it is written.

        Raises what `explain` raises until the text could be begun; the response raises what ends it later.
        """
        request = parse_v1(payload, self._settings.max_questions, self._settings.max_new_tokens, explain=True)
        (prompt,), (answer,) = await self._answer(request.questions, request.debias)
        context, pieces = current_request(), TextQueue()
        job = self._engine.submit_explanation(
            prompt, answer, request.max_new_tokens, context.deadline, on_text=pieces.put
        )
        job.future.add_done_callback(lambda _: pieces.put(None))

        def finish(item: Explanation) -> dict[str, Any]:
            context.completion_tokens = item.completion_tokens
            return explanations([item], self.version, request.purpose)

        def ended() -> None:
            context.stage("explain", job.started_ns, job.finished_ns)

        return ExplanationStream(answer.to_dict(), job, pieces, finish, ended)

    async def _infer(self, payload: InferRequest) -> InferResponse:
        context = current_request()
        request = parse_v2(payload, self._settings.max_questions)
        if request.timeout:
            context.deadline = min(context.deadline, time.monotonic() + request.timeout)
        _, answers = await self._answer(request.questions, request.debias)
        return encode_v2(payload, request, answers, context.request_id, self.version, self._settings.revision)

    async def _answer(self, questions: Sequence[Question], debias: Debias | None) -> tuple[list[Prompt], list[Answer]]:
        context = current_request()
        context.questions = len(questions)
        if self._settings.log_questions:
            context.texts = [question.stem for question in questions]
        self._engine.check_room(len(questions))
        start = time.time_ns()
        loop = asyncio.get_running_loop()
        prompts = await loop.run_in_executor(self._tokenisers, self._encode, questions, context.deadline)
        context.stage("tokenise", start, time.time_ns())
        context.tokens = sum(prompt.tokens for prompt in prompts)
        answers = await _result(self._engine.submit(prompts, debias, context.deadline), "forward")
        context.answers = answers
        return prompts, answers

    def _encode(self, questions: Sequence[Question], deadline: float) -> list[Prompt]:
        prompts = []
        for index, question in enumerate(questions):
            if time.monotonic() > deadline:
                raise DeadlineExceededError("the request's time passed before its questions were tokenised")
            try:
                prompts.append(self.scorer.encode(question))
            except QuestionError as error:
                raise error.at(index) from None
        return prompts


async def _result(job: Job, stage: str) -> Any:
    """The job's result, within the request's deadline; a caller who disconnects removes the job from the queue."""
    context = current_request()
    try:
        async with asyncio.timeout(max(0.0, context.deadline - time.monotonic())):
            return await asyncio.wrap_future(job.future)
    finally:
        if stage == "forward":
            context.stage("queue", job.queued_ns, job.started_ns)
        context.stage(stage, job.started_ns, job.finished_ns)
        context.stage("answer", job.finished_ns, job.finished_ns)
