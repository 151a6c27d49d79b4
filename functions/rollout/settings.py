"""The rollout function's settings. Defaults are those of the decision and the analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.environment import number, text, whole
from common.errors import SettingError
from common.names import INFERENCE_SERVICE, MODEL, NAMESPACE
from functions.rollout import analysis, decision

STEPS_VARIABLE = "MCQA_ROLLOUT_STEPS"
SECRETS = ("MCQA_WEBHOOK_SECRET", "MCQA_WEBHOOK_SECRET_PREVIOUS")
"""What MLflow signs with, and what it signed with before the rotation."""

DEADLINE_SECONDS = 60.0
WEBHOOK_MAX_AGE_SECONDS = 600.0
"""MLflow keeps a delivery's timestamp through its retries: never below 300 s in production."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`service` is the InferenceService's name in `namespace`. Times in seconds.

    `deadline` is how long a response may take before its request counts as failed, `webhook_max_age` how old a
    webhook's timestamp may be. Any of `webhook_secrets` signs a webhook; none refuses every one.
    """

    model: str = MODEL
    service: str = INFERENCE_SERVICE
    namespace: str = NAMESPACE
    decision: decision.Config = field(default_factory=decision.Config)
    analysis: analysis.Config = field(default_factory=analysis.Config)
    deadline: float = DEADLINE_SECONDS
    webhook_max_age: float = WEBHOOK_MAX_AGE_SECONDS
    webhook_secrets: tuple[str, ...] = ()


def read_settings(environ: Mapping[str, str]) -> Settings:
    """SettingError (a ValueError) when a variable is not usable."""
    base, measured = decision.Config(), analysis.Config()
    steps = _steps(environ.get(STEPS_VARIABLE, "").strip() or ",".join(map(str, base.steps)))
    max_step = number(environ, "MCQA_ROLLOUT_MAX_STEP_SECONDS", base.max_step)
    max_start = number(environ, "MCQA_ROLLOUT_MAX_START_SECONDS", base.max_start)
    try:
        config = decision.Config(steps, max_step, max_start)
    except ValueError as error:
        raise SettingError(f"{STEPS_VARIABLE}: {error}") from None
    return Settings(
        model=text(environ, "MCQA_REGISTERED_MODEL", MODEL),
        service=text(environ, "MCQA_INFERENCE_SERVICE", INFERENCE_SERVICE),
        namespace=text(environ, "MCQA_NAMESPACE", NAMESPACE),
        decision=config,
        analysis=analysis.Config(
            min_requests=whole(environ, "MCQA_ROLLOUT_MIN_REQUESTS", measured.min_requests, 1),
            min_seconds=number(environ, "MCQA_ROLLOUT_MIN_SECONDS", measured.min_seconds),
            last_percent=steps[-2],
        ),
        deadline=number(environ, "MCQA_ROLLOUT_DEADLINE_SECONDS", DEADLINE_SECONDS, 0.1),
        webhook_max_age=number(environ, "MCQA_ROLLOUT_WEBHOOK_MAX_AGE_SECONDS", WEBHOOK_MAX_AGE_SECONDS, 10.0),
        webhook_secrets=tuple(secret for name in SECRETS if (secret := environ.get(name, ""))),
    )


def _steps(value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise SettingError(f"{STEPS_VARIABLE} must be percents separated by commas, found {value!r}") from None
