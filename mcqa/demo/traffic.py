"""People who ask and say afterwards what was right: a steady stream of questions with feedback, from a chosen mix."""

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
from mcqa.client import question_to_dict
from mcqa.demo.pace import next_pace
from pipelines.bank import HELD_OUT_SUBJECTS, TRAINING_SUBJECTS, LabelledQuestion, stream

TIMEOUT = aiohttp.ClientTimeout(total=20)


@dataclass(frozen=True, slots=True)
class Mix:
    """What people ask about: `shifted` is the share of subjects that the first version never saw (0 to 1)."""

    name: str
    shifted: float


USUAL = Mix("usual", 0.0)
SHIFTED = Mix("shifted", 0.8)


@dataclass(frozen=True, slots=True)
class Sample:
    """One question as its asker saw it: `at` in Unix seconds, `seconds` until answered, `status` 0 for no answer."""

    at: float
    mix: str
    status: int
    version: str
    correct: bool
    seconds: float


class Traffic:
    """Asks questions until `stop`, on a thread of its own: `rate` a second, or fewer (`pace`) where that many are not
    answered in time. `mix` and `rate` may be set at any time.
    """

    def __init__(
        self, url: str, sink: str, *, rate: float, mix: Mix = USUAL, seed: int = 0, model: str = "coding-mcqa"
    ):
        self.mix, self.rate, self.pace = mix, rate, rate
        self.samples: list[Sample] = []
        self.acknowledged: list[str] = []
        """Ids of the feedback events that the broker took."""
        self.unsaid = 0
        """Feedback that the broker did not take."""
        self._predict = f"{url}/v1/models/{model}:predict"
        self._sink = sink
        self._random = random.Random(f"demo-{seed}")
        self._old = _questions(seed, TRAINING_SUBJECTS)
        self._new = _questions(seed, HELD_OUT_SUBJECTS)
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
            one
            for one in self.samples
            if one.at >= start and mix in (None, one.mix) and (version is None or one.version == version)
        ]

    async def _run(self) -> None:
        under_way: set[asyncio.Task[None]] = set()
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as session:
            due = looked = time.monotonic()
            seen = 0
            while not self._stopping.is_set():
                if (now := time.monotonic()) - looked >= 1.0:
                    ended, seen, looked = self.samples[seen:], len(self.samples), now
                    unanswered = sum(one.status != 200 for one in ended)
                    took = [one.seconds for one in ended]
                    self.pace = next_pace(self.pace, self.rate, took, unanswered, len(under_way))
                mix = self.mix
                question = await asyncio.to_thread(
                    next, self._new if self._random.random() < mix.shifted else self._old
                )
                task = asyncio.create_task(self._ask(session, question, mix))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                due = max(due + self._random.expovariate(min(self.pace, self.rate)), time.monotonic() - 1.0)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*under_way)

    async def _ask(self, session: aiohttp.ClientSession, labelled: LabelledQuestion, mix: Mix) -> None:
        name, began, at = str(uuid.uuid4()), time.perf_counter(), time.time()
        status, version, chosen = 0, "", -1
        try:
            body = {"instances": [question_to_dict(labelled.question)]}
            async with session.post(self._predict, json=body, headers={"ce-id": name}) as answer:
                status = answer.status
                if status == 200:
                    (told,) = (await answer.json())["predictions"]
                    version, chosen = str(told["model_version"]), int(told["index"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError):
            status = status if status != 200 else 0
        seconds = time.perf_counter() - began
        self.samples.append(Sample(at, mix.name, status, version, chosen == labelled.answer, seconds))
        if status == 200:
            await self._say(session, name, labelled.answer)

    async def _say(self, session: aiohttp.ClientSession, name: str, answer: int) -> None:
        """Feedback may come late but not get lost: tried again for a while."""
        headers = {
            "ce-specversion": "1.0", "ce-id": f"{name}-feedback", "ce-source": SOURCE_DEMO, "ce-type": FEEDBACK,
            "content-type": "application/json",
        }  # fmt: skip
        body = json.dumps({"answer_id": name, "answer": answer}).encode()
        for attempt in range(6):
            try:
                async with session.post(self._sink, data=body, headers=headers) as response:
                    if response.status == 202:
                        self.acknowledged.append(headers["ce-id"])
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(0.25 * 2**attempt)
        self.unsaid += 1


def _questions(seed: int, subjects: Sequence[str]) -> Iterator[LabelledQuestion]:
    """Never from the bank's train split: what people ask was not trained on."""
    return stream(seed, subjects, split="holdout")
