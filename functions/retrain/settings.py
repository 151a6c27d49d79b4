"""The retrain function's settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.environment import number, text, whole
from common.errors import SettingError
from common.limits import MIN_LABELLED_QUESTIONS
from common.names import MODEL

RESERVED = ("run_key", "model_name", "champion", "since", "until", "reason", "traceparent", "drift_event")
"""Parameters that retrain itself sets."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`cooldown` in seconds between the end of a run and the next one; `parameters` go to the pipeline as well."""

    model: str
    cooldown: float
    attempts: int
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def minimum(self) -> int:
        """The labelled questions that the pipeline needs at least."""
        data = self.parameters.get("data")
        return int(data.get("minimum", MIN_LABELLED_QUESTIONS)) if isinstance(data, dict) else MIN_LABELLED_QUESTIONS


def read_settings(environ: Mapping[str, str]) -> Settings:
    """SettingError (a ValueError) when a variable is not usable."""
    name = "MCQA_RETRAIN_PARAMETERS"
    given = text(environ, name, "{}")
    try:
        parameters = json.loads(given)
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise SettingError(f'{name} must be a JSON object like {{"seed": 1}}, found {given[:80]!r}')
    if taken := sorted(set(parameters) & set(RESERVED)):
        raise SettingError(f"{name} must not hold {', '.join(taken)}: retrain itself sets that")
    return Settings(
        text(environ, "MCQA_REGISTERED_MODEL", MODEL),
        number(environ, "MCQA_RETRAIN_COOLDOWN_SECONDS", 6 * 3600.0),
        whole(environ, "MCQA_RETRAIN_ATTEMPTS", 2, 1),
        parameters,
    )
