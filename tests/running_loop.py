"""The whole loop as `mcqa up --ui-actions` starts it, on a fast clock, with users who ask and versions by hand."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from rollout_loop import traffic

from common.event_types import FEEDBACK
from common.mlflow.registry import ModelRegistry
from common.names import CHALLENGER, MODEL
from functions.database import engine
from local.platform.settings import HOST, Folder
from mcqa import targets
from mcqa.client import question_to_dict
from pipelines.bank import HELD_OUT_SUBJECTS, stream
from pipelines.registration import versions

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "models" / "tiny"
PORTS = ("--port", "--api-port", "--broker-port", "--mlflow-port", "--pipelines-port", "--ui-port", "--internal-port")
CONFIG = {
    "MCQA_DRIFT_MIN_SAMPLE": "120",
    "MCQA_DRIFT_ENOUGH": "300",
    "MCQA_DRIFT_CONSECUTIVE": "1",
    "MCQA_DRIFT_SETTLE_SECONDS": "1",
    "MCQA_ROLLOUT_STEPS": "50,100",
    "MCQA_ROLLOUT_MIN_REQUESTS": "60",
    "MCQA_ROLLOUT_MIN_SECONDS": "3",
    "MCQA_ROLLOUT_DEADLINE_SECONDS": "5",
    "MCQA_RETRAIN_PARAMETERS": json.dumps({"data": {"minimum": 1_000_000}}),  # a retraining begins, and has too little
    "MCQA_RETRAIN_ATTEMPTS": "1",
}
SCHEDULES = {"drift": "@every 4s", "rollout": "@every 2s", "retrain": "@every 10s"}


@dataclass(frozen=True, slots=True)
class RunningLoop:
    folder: Folder

    @property
    def page(self) -> str:
        return f"http://{HOST}:{self.folder.settings().ports.ui}"

    @property
    def environ(self) -> dict[str, str]:
        return targets.environ(self.folder.path)

    def up(self, *more: str) -> None:
        """For the first time on free ports, later on the same ones."""
        if not (self.folder.path / "settings.json").exists():
            more += tuple(part for flag in PORTS for part in (flag, "0"))
        self.mcqa("up", *more)

    def down(self) -> None:
        self.mcqa("down")

    def mcqa(self, *arguments: str) -> str:
        environment = {**os.environ, "MCQA_LOCAL_DIR": str(self.folder.path), "COLUMNS": "200"}
        command = [sys.executable, "-m", "mcqa", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def challenge(self) -> str:
        """Registers a copy of the first version and sets the alias challenger on it; its number."""
        environ = self.environ
        with (
            ModelRegistry(environ, environ["MCQA_REGISTERED_MODEL"]) as registry,
            tempfile.TemporaryDirectory() as work,
        ):
            copy = shutil.copytree(TINY, Path(work) / "version")
            candidate = versions.Candidate(copy, f"by-hand-{uuid.uuid4().hex}")
            version = versions.register(registry, environ["MLFLOW_TRACKING_URI"], candidate).version
            registry.set_alias(CHALLENGER, version)
        return version

    def answers(self, *served: str, each: int = 1500) -> None:
        """So many answered and labelled questions of each version now, put into the database: evidence for a canary,
        which people who ask on two processors would give in minutes.
        """
        database = engine(self.environ["MCQA_DATABASE_URL"])
        traffic(database, dict.fromkeys(served, each), time.time())
        database.dispose()

    def say(self, id: str, data: dict[str, Any]) -> None:
        """Feedback, to the broker."""
        headers = {"ce-specversion": "1.0", "ce-id": id, "ce-source": "/test", "ce-type": FEEDBACK}
        response = httpx2.post(self.environ["K_SINK"], json=data, headers=headers, timeout=30)
        assert response.status_code == 202, response.text


@contextlib.contextmanager
def running_loop(path: Path) -> Iterator[RunningLoop]:
    loop = RunningLoop(Folder(path))
    settings = [part for name, value in CONFIG.items() for part in ("--set", f"{name}={value}")]
    schedules = [part for name, value in SCHEDULES.items() for part in ("--schedule", f"{name}={value}")]
    try:
        loop.up("--ui-actions", *settings, *schedules)
        yield loop
    finally:
        loop.down()


@dataclass
class Users:
    """Ask about what the first version never saw, and say that whatever was answered was right.

    As many questions per second as `rate`, or fewer where that many are not answered.
    """

    loop: RunningLoop
    rate: float = 30.0
    answered: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def asking(self) -> Iterator[Users]:
        threads = [threading.Thread(target=self._ask, args=(seed,), daemon=True) for seed in range(SEATS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join(30)

    def _ask(self, seed: int) -> None:
        url = f"http://{HOST}:{self.loop.folder.settings().ports.gateway}/v1/models/{MODEL}:predict"
        questions = stream(seed, HELD_OUT_SUBJECTS, split="holdout")
        sink = self.loop.environ["K_SINK"]
        with httpx2.Client(timeout=60) as client:
            while not self._stopping.is_set():
                began, name = time.monotonic(), str(uuid.uuid4())
                body = {"instances": [question_to_dict(next(questions).question)]}
                with contextlib.suppress(httpx2.HTTPError):
                    answer = client.post(url, json=body, headers={"ce-id": name})
                    if answer.status_code == 200:
                        self.answered += 1
                        data = {"answer_id": name, "answer": answer.json()["predictions"][0]["index"]}
                        client.post(sink, json=data, headers=_feedback(name))
                self._stopping.wait(max(0.0, SEATS / self.rate - (time.monotonic() - began)))


SEATS = 4


def _feedback(answer: str) -> dict[str, str]:
    return {"ce-specversion": "1.0", "ce-id": f"{answer}-f", "ce-source": "/users", "ce-type": FEEDBACK}
