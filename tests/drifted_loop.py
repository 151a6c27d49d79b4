"""A loop whose traffic changes: a registered champion, hours of answers with their questions and labels, and checks."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
from loop_parts import features, register, set_champion
from sqlalchemy import Engine, insert

from common.event_types import PING
from common.mlflow.registry import ModelRegistry
from functions.collect.tables import AskedQuestion, GivenAnswer, GivenFeedback, LoggedRequest
from functions.database import engine
from functions.drift.checker import DriftChecker
from functions.drift.reference import summarise
from functions.drift.settings import read_settings
from functions.events import Event
from functions.migrate import migrate

TICK = Event("1", "/ping", PING)
USUAL = {"lists": 0.5, "strings": 0.3, "loops": 0.2}
NEW = {"lists": 0.2, "strings": 0.2, "loops": 0.1, "sql": 0.5}
CODE = "def f(x):\n    return [y for y in x if y]\n"


def figures(count: int, seed: int, shift: float = 0.0) -> dict[str, list[float]]:
    """Features of answers in the ranges that a model's have; `shift` lowers the confidence, in standard deviations."""
    drawn = {name: np.asarray(values) for name, values in features(count, seed, -shift).items()}
    return {
        "confidence": np.clip(0.72 + 0.1 * drawn["confidence"], 0.25, 1).tolist(),
        "margin": np.clip(0.5 + 0.15 * drawn["margin"], 0, 1).tolist(),
        "entropy": np.abs(0.6 + 0.2 * drawn["entropy"]).tolist(),
        "letter_mass": (1 - 0.01 * np.abs(drawn["letter_mass"])).tolist(),
        "prompt_tokens": drawn["prompt_tokens"].tolist(),
    }


def reference() -> str:
    return summarise(figures(1000, 0), list("ABCD" * 250)).to_json()


@dataclass
class DriftedLoop:
    """`environ` is what its parts get. Hours are counted from `begin`, so that the last of them ends about now."""

    url: str
    mlflow_url: str
    hours: int = 8
    model: str = field(default_factory=lambda: f"drifted-{uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.begin = time.time() - 3600.0 * self.hours - 5
        self.hour = 0
        self.database: Engine = engine(self.url)
        migrate(self.database)
        self.environ: Mapping[str, str] = {
            "MCQA_DATABASE_URL": self.url,
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MCQA_REGISTERED_MODEL": self.model,
            "MCQA_DRIFT_SETTLE_SECONDS": "0",
        }
        self.version = self.register()
        self.checker = DriftChecker(read_settings(self.environ), self.database, ModelRegistry(self.environ, self.model))

    def register(self, *, with_reference: bool = True) -> str:
        """A new champion."""
        version = register(self.mlflow_url, self.model, {"reference.json": reference()} if with_reference else {})
        set_champion(self.mlflow_url, self.model, version)
        self.version = version
        return version

    def answers(self, subjects: Mapping[str, float], shift: float, count: int = 400, labels: float = 0.2) -> float:
        """An hour of them; its end. `shift` of the confidence in standard deviations, `labels` is a share."""
        begin = self.begin + 3600.0 * self.hour
        self.hour += 1
        draw = random.Random(self.hour)
        values = figures(count, self.hour, shift)
        rows: dict[type, list[dict[str, object]]] = {
            t: [] for t in (LoggedRequest, AskedQuestion, GivenAnswer, GivenFeedback)
        }
        for i, subject in enumerate(draw.choices(list(subjects), list(subjects.values()), k=count)):
            at = begin + 3600.0 * i / count
            key = {"source": "/logger", "id": f"{self.version}-{self.hour}-{i}"}
            question = {
                "question": f"What does f({i % 40}) give?",
                "choices": ["1", "2", "**3**", "<b>4</b>"],
                "subject": subject,
            }
            question |= {"code": CODE} if i % 2 else {}
            letter = draw.choice("ABCD")
            measured = {name: column[i] for name, column in values.items()}
            rows[LoggedRequest].append({**key, "version": self.version, "requested_at": at})
            rows[AskedQuestion].append({**key, "place": 0, "choices": 4, "question": question})
            rows[GivenAnswer].append(
                {**key, "place": 0, "version": self.version, "answered_at": at, "letter": letter, **measured}
            )
            if draw.random() < labels:
                right = letter if draw.random() < 0.7 - 0.1 * abs(shift) else "ABCD"[("ABCD".index(letter) + 1) % 4]
                given = {"given_at": at + 1, "arrived_at": at + 1, "sequence": 1}
                rows[GivenFeedback].append(
                    {
                        "source": "/people",
                        "id": f"f-{key['id']}",
                        "answer_id": key["id"],
                        "place": 0,
                        "letter": right,
                        **given,
                    }
                )
        with self.database.begin() as connection:
            for table, some in rows.items():
                if some:
                    connection.execute(insert(table), some)
        return begin + 3600.0

    def check(self, subjects: Mapping[str, float] = USUAL, shift: float = 0.0, count: int = 400) -> str:
        """An hour of answers, and the check at its end."""
        return self.checker.check(TICK, self.answers(subjects, shift, count))
