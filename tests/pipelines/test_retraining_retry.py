"""A step that retries by itself: Kubeflow's installation does not, when the program ended with an error."""

from __future__ import annotations

import pytest

from common.errors import UnavailableError
from pipelines.retraining.dataset import DataError
from pipelines.retraining.retry import BACKOFF_SECONDS, retry_unavailable
from predictor.storage.errors import RegistryUnavailableError

NO_WAIT = (0.0, 0.0)


@pytest.mark.parametrize("away", [UnavailableError("no database"), RegistryUnavailableError("no registry")])
def test_what_is_away_is_asked_again(away: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[Exception | int] = [away, away, 7]

    def act() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry_unavailable(act, NO_WAIT) == 7
    assert capsys.readouterr().err.count(f"retrying in 0 s: {away}") == 2


def test_what_stays_away_is_the_error() -> None:
    tries = []

    def act() -> None:
        tries.append(1)
        raise UnavailableError("still away")

    with pytest.raises(UnavailableError, match="still away"):
        retry_unavailable(act, NO_WAIT)
    assert len(tries) == 1 + len(NO_WAIT)


def test_too_little_feedback_does_not_become_more() -> None:
    tries = []

    def act() -> None:
        tries.append(1)
        raise DataError("12 questions")

    with pytest.raises(DataError):
        retry_unavailable(act, NO_WAIT)
    assert len(tries) == 1
    assert sum(BACKOFF_SECONDS) < 30
