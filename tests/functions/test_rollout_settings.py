"""The rollout function's settings."""

from __future__ import annotations

import pytest

from common.errors import SettingError
from functions.rollout.decision import Config
from functions.rollout.settings import Settings, read_settings


def test_settings() -> None:
    settings = read_settings({"MCQA_ROLLOUT_STEPS": "5, 50,100", "MCQA_ROLLOUT_MIN_REQUESTS": "20"})
    assert settings.decision == Config((5, 50, 100))
    assert (settings.analysis.last_percent, settings.analysis.min_requests) == (50, 20)
    assert read_settings({}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MCQA_ROLLOUT_STEPS", "10,5,100", "MCQA_ROLLOUT_STEPS: steps must rise"),
        ("MCQA_ROLLOUT_STEPS", "ten", "percents separated by commas, found 'ten'"),
        ("MCQA_ROLLOUT_MIN_REQUESTS", "1.5", "whole number, found '1.5'"),
        ("MCQA_ROLLOUT_DEADLINE_SECONDS", "0", "at least 0.1, found '0'"),
    ],
)
def test_settings_that_are_not_usable(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read_settings({name: value})


def test_the_configmap_names_every_variable_with_its_default() -> None:
    from function_server import ROOT
    from yaml import safe_load

    data = safe_load((ROOT / "knative/config.yaml").read_text())["data"]
    own = {name for name in data if name.startswith("MCQA_ROLLOUT_")}
    text = (ROOT / "functions/rollout/settings.py").read_text()
    assert own == {
        word.strip('"') for word in text.replace(",", " ").replace(")", " ").split() if '"MCQA_ROLLOUT_' in word
    }
    assert read_settings(data) == Settings()
