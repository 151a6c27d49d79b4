"""What the page reads, from the loop that the environment names; `ui.facts.read` keeps it for all viewers."""

from __future__ import annotations

import os

from mcqa import baseline
from mcqa.baseline import Candidate
from mcqa.readmodels import drift, drift_accuracy, drift_distributions, drift_subjects
from mcqa.readmodels.drift import Check, DriftFacts
from mcqa.readmodels.drift_accuracy import Accuracy, Span
from mcqa.readmodels.drift_distributions import Distributions
from mcqa.readmodels.drift_subjects import Subjects


def status(last: int) -> DriftFacts:
    return drift.read(os.environ, last)


def check(sequence: int) -> Check | None:
    return drift.read_check(os.environ, sequence)


def distributions(check: int | None) -> Distributions:
    return drift_distributions.read(os.environ, check)


def subjects(check: int | None) -> Subjects:
    return drift_subjects.read(os.environ, check)


def accuracy(span: Span, ahead: float) -> Accuracy:
    return drift_accuracy.read(os.environ, span, ahead)


def candidate(since: float) -> Candidate:
    return baseline.candidate(os.environ, since)
