"""The drift function's settings. Defaults are those of the decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.environment import number, text, whole
from common.errors import SettingError
from common.names import MODEL
from functions.drift.decision import Config


@dataclass(frozen=True, slots=True)
class Settings:
    """`settle` in seconds: how old an answer must be to belong to a window.

    Answers are dated by the logger and reach the database later. One that arrives after its window was closed would be
    in no window, so the default is longer than the Broker tries to deliver (8 retries, 127.5 s of backoff).
    """

    model: str
    config: Config
    settle: float


def read_settings(environ: Mapping[str, str]) -> Settings:
    """SettingError (a ValueError) when a variable is not usable."""
    default = Config()
    try:
        config = Config(
            alpha=number(environ, "MCQA_DRIFT_ALPHA", default.alpha),
            min_sample=whole(environ, "MCQA_DRIFT_MIN_SAMPLE", default.min_sample, 1),
            enough=whole(environ, "MCQA_DRIFT_ENOUGH", default.enough, 1),
            consecutive=whole(environ, "MCQA_DRIFT_CONSECUTIVE", default.consecutive, 1),
            remind_after=number(environ, "MCQA_DRIFT_REMIND_SECONDS", default.remind_after, 60.0),
        )
    except SettingError:
        raise
    except ValueError as error:
        raise SettingError(f"MCQA_DRIFT_*: {error}") from None
    model = text(environ, "MCQA_REGISTERED_MODEL", MODEL)
    return Settings(model, config, number(environ, "MCQA_DRIFT_SETTLE_SECONDS", 150.0))
