"""Counts that several packages must agree on."""

from __future__ import annotations

MIN_LABELLED_QUESTIONS = 200
"""A retraining needs at least this many questions with a right answer: the retrain function waits for them, and the
pipeline refuses fewer."""
