import json

import pytest

from predictor.calibration import Calibration, estimate_prior
from predictor.errors import VersionError


def test_estimate_finds_the_prior_that_made_the_observations() -> None:
    """Observations built as prior x belief, whatever the belief, give the prior back (PriDe's premise)."""
    prior = (0.4, 0.3, 0.2, 0.1)
    questions = []
    for belief in ((0.7, 0.1, 0.1, 0.1), (0.05, 0.05, 0.1, 0.8), (0.25, 0.25, 0.25, 0.25)):
        rotations = []
        for by in range(4):
            raised = [prior[letter] * belief[(letter + by) % 4] for letter in range(4)]
            rotations.append([r / sum(raised) for r in raised])
        questions.append(rotations)
    # Normalising each rotation bends the logarithms by a constant a rotation, which the softmax takes out again.
    assert estimate_prior(questions) == pytest.approx(prior)


@pytest.mark.parametrize("rows", [[], [[[0.5, 0.5]]], [[[0.5, 0.5], [0.5]]]])
def test_estimate_needs_whole_rotations(rows) -> None:
    with pytest.raises(ValueError, match=r"letter prior needs|rotations of"):
        estimate_prior(rows)


def test_debias_survives_probabilities_of_zero() -> None:
    assert Calibration({2: (0.5, 0.5)}).debias([1.0, 0.0]) == [1.0, 0.0]


def test_written_and_read_again(tmp_path) -> None:
    calibration = Calibration({2: (0.6, 0.4), 4: (0.1, 0.2, 0.3, 0.4)}, 50)
    calibration.write(tmp_path)
    assert Calibration.read(tmp_path) == calibration


def test_a_folder_without_one_has_none(tmp_path) -> None:
    assert Calibration.read(tmp_path) == Calibration()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"schema": 2}, "schema 2 is not known"),
        ({"schema": 1, "letter_prior": {"2": [0.5, 0.4]}}, r"letter_prior\['2'\]"),
        ({"schema": 1, "letter_prior": {"2": [1.0, 0.0]}}, r"letter_prior\['2'\]"),
        ({"schema": 1, "letter_prior": {"3": [0.5, 0.5]}}, r"letter_prior\['3'\]"),
        ({"schema": 1, "letter_prior": {"x": [0.5, 0.5]}}, r"letter_prior\['x'\]"),
        ({"schema": 1, "letter_prior": {"11": [1 / 11] * 11}}, r"letter_prior\['11'\]"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, data, message) -> None:
    (tmp_path / "calibration.json").write_text(json.dumps(data))
    with pytest.raises(VersionError, match=message):
        Calibration.read(tmp_path)
