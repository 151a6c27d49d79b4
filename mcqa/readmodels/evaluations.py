"""How good a version is, as the retraining pipeline measured it: accuracy by subject, calibration, letter bias.

The figures are those of `evaluation.json` (pipelines/evaluation/artifacts.py, or `mcqa evaluate --out` in a version's
folder); nothing is computed here. A version is measured as the challenger of its own retraining, and again, on other
questions, as the champion of later ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from common import links
from common.mlflow import runs
from common.names import CHALLENGER
from mcqa.readmodels.versions import registry

if TYPE_CHECKING:
    from common.mlflow.registry import ModelRegistry, RegisteredVersion

Json = dict[str, Any]
Side = Literal["champion", "challenger"]
MIXES = ("current", "bank", "old")
"""Mixes of questions, the one that is most like what is asked now first."""
ENOUGH = 50
"""Answers of a bin that say something: their share that is right is known within 14 points."""
AS_CHAMPION = 3
"""Evaluations in which a version was the champion that are looked at, the newest."""


class Share(TypedDict):
    """`count` of `total` with its 95% interval; 0 to 1."""

    value: float
    low: float
    high: float
    count: int
    total: int


class Bin(TypedDict):
    """Answers with a confidence in (low, high]: how many, their mean confidence, the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Letter(TypedDict):
    """How often it was right and chosen; `recall` is the share of questions with that right letter answered right."""

    letter: str
    right: int
    chosen: int
    recall: float | None


class Calibration(TypedDict):
    """Brier score (0 best, 2 worst), log-likelihood in nats, expected calibration error (None with too few answers).

    `bins` are those with answers. `rstd` is the letter bias: the spread of the letters' recalls.
    """

    accuracy: Share
    brier: float | None
    nll: float | None
    ece: float | None
    bins: list[Bin]
    rstd: float | None


class Measured(Calibration):
    """Answers to one mix of questions. `before` is what they would be without the version's letter prior.

    `before` is None for a version that has none. `chance` is the accuracy of guessing.
    """

    mix: str
    chance: float | None
    subjects: dict[str, Share]
    letters: list[Letter]
    letter_mass: float | None
    before: Calibration | None


class EvaluationFacts(TypedDict):
    """Where the figures come from: a retraining's evaluation as challenger or champion, or the version's own folder.

    `against` is the other version: the champion's number where this one was the challenger, None otherwise.
    """

    source: Literal["challenger", "champion", "folder"]
    against: str | None
    measured_at: float | None
    page: str
    mixes: list[Measured]


def read(environ: Mapping[str, str], version: str) -> EvaluationFacts | None:
    """None where no evaluation of the version is stored. Raises as readmodels/versions.py does."""
    with registry(environ) as client:
        found = client.version(version)
        if found is None:
            return None
        own = own_run(client, found)
        facts = None if own is None else _of_run(environ, client, own, "challenger")
        if facts is None:
            facts = _of_folder(client, version)
        for run in () if facts else champion_runs(client, version):
            facts = _of_run(environ, client, run, "champion")
            if facts is not None:
                break
    return facts


def as_sure_as(facts: EvaluationFacts, confidence: float) -> Bin | None:
    """How often the version was right when it was so sure; None where it was not often enough to say."""
    by_name = {mix["mix"]: mix for mix in facts["mixes"]}
    bins = [bin for name in MIXES if name in by_name for bin in by_name[name]["bins"]]
    found = (bin for bin in bins if bin["low"] < confidence <= bin["high"] and bin["count"] >= ENOUGH)
    return next(found, None)


def own_run(client: ModelRegistry, version: RegisteredVersion) -> runs.Run | None:
    """The evaluation of the version's own retraining; None where it had none, or one without the files."""
    key = version.tags.get("run_key")
    if not key or key == runs.BOOTSTRAP_KEY:
        return None
    return next(iter(runs.search(client, _filter(runs.RUN_KEY_TAG, key), 1)), None)


def champion_runs(client: ModelRegistry, version: str) -> list[runs.Run]:
    """The newest evaluations in which the version was the champion."""
    return runs.search(client, _filter(runs.CHAMPION_TAG, version), AS_CHAMPION)


def _filter(tag: str, value: str) -> str:
    return f"tags.{runs.STEP_TAG} = '{runs.EVALUATE_STEP}' and tags.{tag} = {runs.quoted(value)}"


def _of_run(environ: Mapping[str, str], client: ModelRegistry, run: runs.Run, side: Side) -> EvaluationFacts | None:
    if runs.CHAMPION_TAG not in run.tags:  # an older release's, which left no files
        return None
    content = runs.read_file(client, run, runs.EVALUATION_FILE)
    mixes = [] if content is None else list(_mixes(content, side))
    if not mixes:
        return None
    return {
        "source": side,
        "against": run.tags[runs.CHAMPION_TAG] if side == CHALLENGER else None,
        "measured_at": run.started,
        "page": links.mlflow_run(environ, run.experiment_id, run.run_id),
        "mixes": mixes,
    }


def _of_folder(client: ModelRegistry, version: str) -> EvaluationFacts | None:
    content = client.read_files(version, (runs.EVALUATION_FILE,), runs.MAX_FILE).get(runs.EVALUATION_FILE)
    measured = None if content is None else _measured(_object(content), "bank")
    if measured is None:
        return None
    return {"source": "folder", "against": None, "measured_at": None, "page": "", "mixes": [measured]}


def _mixes(content: bytes, side: Side) -> Iterator[Measured]:
    mixes = _object(content).get("mixes")
    for mix, reports in (mixes if isinstance(mixes, dict) else {}).items():
        measured = _measured(reports.get(side) if isinstance(reports, dict) else None, str(mix))
        if measured is not None:
            yield measured


def _object(content: bytes) -> Json:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _measured(report: Any, mix: str) -> Measured | None:
    """A report's figures; None for anything else."""
    try:
        before = report.get("before")
        return {
            **_calibration(report),
            "mix": mix,
            "chance": _number(report.get("chance")),
            "subjects": {str(name): _share(share) for name, share in report["subjects"].items()},
            "letters": [
                {
                    "letter": str(letter)[:1],
                    "right": int(row["right"]),
                    "chosen": int(row["chosen"]),
                    "recall": _number(row["recall"]),
                }
                for letter, row in report["letters"]["by_letter"].items()
            ],
            "letter_mass": _number(report.get("letter_mass")),
            "before": None if before is None else _calibration(before),
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _calibration(report: Json) -> Calibration:
    return {
        "accuracy": _share(report["accuracy"]),
        "brier": _number(report.get("brier")),
        "nll": _number(report.get("nll")),
        "ece": _number(report["ece"]["value"]),
        "bins": [
            {
                "low": float(row["low"]),
                "high": float(row["high"]),
                "count": int(row["count"]),
                "confidence": float(row["confidence"]),
                "accuracy": float(row["accuracy"]),
            }
            for row in report["ece"]["bins"]
            if row["count"]
        ],
        "rstd": _number(report["letters"]["rstd"]),
    }


def _share(data: Json) -> Share:
    return {
        "value": float(data["value"]),
        "low": float(data["low"]),
        "high": float(data["high"]),
        "count": int(data["correct"]),
        "total": int(data["total"]),
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
