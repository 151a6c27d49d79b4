"""Simulated users: a steady stream of questions from a chosen mix, each followed by feedback."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import aiohttp

from common.event_types import FEEDBACK, SOURCE_DEMO
from common.names import MODEL
from mcqa.client import question_to_dict
from mcqa.demo.rate_control import next_rate
from pipelines.bank import HELD_OUT_SUBJECTS, TRAINING_SUBJECTS, LabelledQuestion, stream

TIMEOUT = aiohttp.ClientTimeout(total=20)


@dataclass(frozen=True, slots=True)
class Mix:
    """What users ask about: `shifted` is the share of subjects that the first version never saw (0 to 1)."""

    name: str
    shifted: float


USUAL = Mix("usual", 0.0)
SHIFTED = Mix("shifted", 0.8)


@dataclass(frozen=True, slots=True)
class Sample:
    """One question as its user saw it: `at` in Unix seconds, `seconds` until answered, `status` 0 for no answer."""

    at: float
    mix: str
    status: int
    version: str
    correct: bool
    seconds: float


class Traffic:
    """Asks `rate` questions per second until `stop`, on a thread of its own, or fewer (`current_rate`) where that many
    are not answered in time. `mix` and `rate` may be set at any time.
    """

    def __init__(
        self, url: str, sink: str, *, rate: float, mix: Mix = USUAL, seed: int = 0, model: str = MODEL
    ) -> None:
        self.mix, self.rate, self.current_rate = mix, rate, rate
        self.samples: list[Sample] = []
        self.acknowledged: list[str] = []
        """Ids of the feedback events that the broker took."""
        self.lost_feedback = 0
        """How many feedback events the broker did not take."""
        self._predict = f"{url}/v1/models/{model}:predict"
        self._sink = sink
        self._random = random.Random(f"demo-{seed}")
        self._trained = _questions(seed, TRAINING_SUBJECTS)
        self._held_out = _questions(seed, HELD_OUT_SUBJECTS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when every question that was asked is answered."""
        self._stopping.set()
        self._thread.join(30)

    def since(self, start: float, mix: str | None = None, version: str | None = None) -> list[Sample]:
        """The samples from `start` (Unix seconds) on, of one mix and one version where they are given."""
        return [
            sample
            for sample in self.samples
            if sample.at >= start and mix in (None, sample.mix) and (version is None or sample.version == version)
        ]

    async def _run(self) -> None:
        in_flight: set[asyncio.Task[None]] = set()
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as session:
            due = adjusted = time.monotonic()
            counted = 0
            while not self._stopping.is_set():
                if (now := time.monotonic()) - adjusted >= 1.0:
                    ended, counted, adjusted = self.samples[counted:], len(self.samples), now
                    unanswered = sum(sample.status != 200 for sample in ended)
                    latencies = [sample.seconds for sample in ended]
                    self.current_rate = next_rate(self.current_rate, self.rate, latencies, unanswered, len(in_flight))
                mix = self.mix
                source = self._held_out if self._random.random() < mix.shifted else self._trained
                question = await asyncio.to_thread(next, source)
                task = asyncio.create_task(self._ask(session, question, mix))
                in_flight.add(task)
                task.add_done_callback(in_flight.discard)
                pause = self._random.expovariate(min(self.current_rate, self.rate))
                due = max(due + pause, time.monotonic() - 1.0)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*in_flight)

    async def _ask(self, session: aiohttp.ClientSession, labelled: LabelledQuestion, mix: Mix) -> None:
        id, began, at = str(uuid.uuid4()), time.perf_counter(), time.time()
        status, version, chosen = 0, "", -1
        try:
            body = {"instances": [question_to_dict(labelled.question)]}
            async with session.post(self._predict, json=body, headers={"ce-id": id}) as response:
                status = response.status
                if status == 200:
                    (answer,) = (await response.json())["predictions"]
                    version, chosen = str(answer["model_version"]), int(answer["index"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError):
            status = status if status != 200 else 0
        seconds = time.perf_counter() - began
        self.samples.append(Sample(at, mix.name, status, version, chosen == labelled.answer, seconds))
        if status == 200:
            await self._send_feedback(session, id, labelled.answer)

    async def _send_feedback(self, session: aiohttp.ClientSession, answer_id: str, answer: int) -> None:
        """Feedback may come late but must not get lost: it is retried for a while."""
        headers = {
            "ce-specversion": "1.0", "ce-id": f"{answer_id}-feedback", "ce-source": SOURCE_DEMO, "ce-type": FEEDBACK,
            "content-type": "application/json",
        }  # fmt: skip
        body = json.dumps({"answer_id": answer_id, "answer": answer}).encode()
        for attempt in range(6):
            try:
                async with session.post(self._sink, data=body, headers=headers) as response:
                    if response.status == 202:
                        self.acknowledged.append(headers["ce-id"])
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(0.25 * 2**attempt)
        self.lost_feedback += 1


def _questions(seed: int, subjects: Sequence[str]) -> Iterator[LabelledQuestion]:
    """Never from the bank's train split: what users ask was not trained on."""
    return stream(seed, subjects, split="holdout")
