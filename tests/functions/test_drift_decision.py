from __future__ import annotations

import json
from typing import Any

import pytest
from scipy import stats

from functions.drift.decision import LEAST, CheckResult, Config, State, compare, evaluate
from functions.drift.reasons import ReasonCode
from functions.drift.reference import FEATURES, FeatureReference, Reference, summarise
from functions.drift.window import Distance, Summary, Window

REFERENCE = Reference(
    {name: FeatureReference(1000, 0.0, 1.0, (-1.0, 0.0, 1.0)) for name in ("confidence", "margin", "entropy")},
    {"A": 250, "B": 250, "C": 250, "D": 250},
)
LETTERS = {"A": 50, "B": 50, "C": 50, "D": 50}
SAME, MOVED = (0.03, 0.05), (0.3, 0.5)
CONFIG = Config()


def window(n: int = 200, letters: dict[str, int] | None = None, **features: tuple[float, float]) -> Summary:
    """Features as (ks, wasserstein); those not named have not moved."""
    moved = dict.fromkeys(REFERENCE.features, SAME) | features
    return Summary(n, {name: Distance(n, ks, w, 0.0) for name, (ks, w) in moved.items()}, letters or LETTERS)


def run(windows: list[Summary], config: Config = CONFIG) -> list[CheckResult]:
    """The checks of windows at hours 1, 2, ..., the state handed on."""
    state, out = State("7"), []
    for hour, observed in enumerate(windows, start=1):
        out.append(evaluate(REFERENCE, observed, state, float(hour), config))
        state = out[-1].state
    return out


@pytest.mark.parametrize(
    ("windows", "verdicts", "alarms"),
    [
        ([window(199)], ["insufficient"], []),
        ([window()], ["no-drift"], []),
        ([window(confidence=MOVED)], ["suspect"], []),
        ([window(confidence=MOVED)] * 2, ["suspect", "drift"], [2]),
        # no storm: the drift goes on, the alarm does not
        ([window(confidence=MOVED)] * 5, ["suspect", "drift", "drift", "drift", "drift"], [2]),
        # a window with too few answers neither breaks the row nor continues it
        ([window(confidence=MOVED), window(10), window(confidence=MOVED)], ["suspect", "insufficient", "drift"], [3]),
        # nor does one that still grows; one that holds enough and finds nothing ends it
        ([window(confidence=MOVED), window(999), window(confidence=MOVED)], ["suspect", "suspect", "drift"], [3]),
        ([window(confidence=MOVED), window(1000), window(confidence=MOVED)], ["suspect", "no-drift", "suspect"], []),
        # two different features in turn are not one drift
        ([window(confidence=MOVED), window(entropy=MOVED)], ["suspect", "suspect"], []),
        ([window(confidence=MOVED, margin=MOVED), window(margin=MOVED)], ["suspect", "drift"], [2]),
        # significant and small; large and not significant
        ([window(20_000, confidence=(0.08, 0.05))] * 3, ["no-drift"] * 3, []),
        ([window(confidence=(0.05, 0.2))] * 3, ["no-drift"] * 3, []),
        ([window(letters={"A": 200})] * 2, ["suspect", "drift"], [2]),
    ],
)
def test_table(windows: list[Summary], verdicts: list[str], alarms: list[int]) -> None:
    checks = run(windows)
    assert [c.verdict for c in checks] == verdicts
    assert [hour for hour, c in enumerate(checks, start=1) if c.alarm] == alarms
    assert all(str(c.reason) for c in checks)


def test_the_window_closes_when_it_has_said_something() -> None:
    since = [c.state.since for c in run([window(50), window(300), window(1000), window(), window(margin=MOVED)])]
    assert since == [None, None, 3.0, 3.0, 5.0]


def test_an_alarm_ends_with_the_champion() -> None:
    alarmed = run([window(confidence=MOVED)] * 2)[-1].state
    assert alarmed.of("7") is alarmed
    assert alarmed.of("8") == State("8")


def test_an_alarm_ends_after_quiet_windows_and_the_next_drift_is_a_new_one() -> None:
    quiet = [window(1000)] * 3
    drifted = [window(confidence=MOVED)] * 2
    checks = run([*drifted, *quiet, *drifted], Config(recover_after=3))
    assert [c.verdict for c in checks] == ["suspect", "drift", "drift", "drift", "no-drift", "suspect", "drift"]
    assert [c.alarm for c in checks] == [False, True, False, False, False, False, True]
    relapse = run([*drifted, *quiet[:2], drifted[0], *quiet[:2]], Config(recover_after=3))
    assert relapse[-1].verdict == "drift", "a relapse starts the count again"


def test_a_drift_that_stays_is_raised_again() -> None:
    checks = run([window(confidence=MOVED)] * 6, Config(remind_after=2.0))
    assert [hour for hour, c in enumerate(checks, start=1) if c.alarm] == [2, 4, 6]
    codes = [c.reason.code for c in checks]
    reasons = [ReasonCode.STILL_DRIFTED, ReasonCode.REMINDER]
    assert codes == [ReasonCode.SUSPECTED, ReasonCode.DETECTED, *reasons, *reasons]
    assert str(checks[3].reason).startswith("still drifted 0 h after the last alarm: confidence by ")


def test_a_thin_reference_is_insufficient() -> None:
    thin = Reference({"confidence": FeatureReference(199, 0.0, 1.0, (0.0,))}, {})
    result = evaluate(thin, window(), State("7"), 1.0)
    assert result.verdict == "insufficient"
    assert str(result.reason) == "the reference of version 7 holds 199 answers, 200 needed"


def test_each_verdict_has_its_code() -> None:
    windows = [window(50), window(), window(1000), *[window(confidence=MOVED)] * 3, window(999), window(1000)]
    assert [c.reason.code.value for c in run(windows, Config(recover_after=2))] == [
        "sample-too-small", "window-growing", "no-change", "suspected", "detected", "still-drifted", "window-growing",
        "recovering",
    ]  # fmt: skip


def test_every_check_gives_its_evidence() -> None:
    result = evaluate(REFERENCE, window(confidence=MOVED), State("7", since=0.5), 1.0)
    data: dict[str, Any] = json.loads(json.dumps(result.to_dict()))
    assert (data["n"], data["window_start"], data["window_end"], data["version"]) == (200, 0.5, 1.0, "7")
    confidence, *_, letter = data["evidence"]
    assert confidence["p"] < 1e-10 < confidence["p_adjusted"] * 1e10
    assert confidence["p_adjusted"] == pytest.approx(4 * confidence["p"])
    assert (confidence["effect"], confidence["floor"], confidence["rejected"]) == (0.5, 0.1, True)
    assert (confidence["n"], confidence["n_reference"], confidence["test"]) == (200, 1000, "ks")
    assert (letter["feature"], letter["rejected"], letter["test"]) == ("letter", False, "chi-square")
    assert (data["reason"], data["reason_code"], data["initiated_by"]) == (str(result.reason), "suspected", "schedule")
    assert data["reason_params"] == {"windows": 1, "consecutive": 2, "details": list(result.reason.details)}
    assert str(result.reason).startswith("window 1 of 2 in a row: confidence by 0.50 sd (floor 0.1, p ")


def letter(reference: dict[str, int], seen: dict[str, int]) -> Any:
    return compare(Reference({}, reference), Summary(sum(seen.values()), {}, seen), CONFIG)[-1]


def test_letters_are_scipys_chi_square() -> None:
    a, b = {"A": 300, "B": 250, "C": 250, "D": 200}, {"A": 40, "B": 60, "C": 55, "D": 45}
    actual = letter(a, b)
    scipys = stats.chi2_contingency([list(a.values()), list(b.values())], correction=False)
    assert (actual.statistic, actual.p) == pytest.approx((scipys.statistic, scipys.pvalue))


def test_cramers_v_does_not_depend_on_the_rows_sizes() -> None:
    a, b = {"A": 500, "B": 500}, {"A": 600, "B": 400}
    table = stats.contingency.association([list(a.values()), list(b.values())], method="cramer")
    assert letter(a, b).effect == pytest.approx(table)
    assert letter(a, {"A": 60_000, "B": 40_000}).effect == pytest.approx(table)


@pytest.mark.parametrize(
    ("reference", "seen", "note", "p"),
    [
        ({"A": 500, "B": 490, "J": 10}, {"A": 100, "B": 99, "J": 1}, "", None),
        ({"A": 500, "B": 490, "J": 10}, {"A": 100, "B": 98, "I": 1, "J": 1}, "2 rare letters pooled", None),
        ({"A": 1000}, {"A": 200}, "one letter only", 1.0),
        ({}, {"A": 200}, "one letter only", 1.0),
    ],
)
def test_rare_letters(reference: dict[str, int], seen: dict[str, int], note: str, p: float | None) -> None:
    actual = letter(reference, seen)
    if note != "":
        assert note.split()[-1] in actual.note
    assert 0 <= actual.p <= 1
    if p is not None:
        assert actual.p == p


def test_a_constant_feature_that_moves_is_seen() -> None:
    constant = Reference({"letter_mass": FeatureReference(1000, 1.0, 0.0, (1.0,))}, {})
    moved = Summary(300, {"letter_mass": Distance(300, 0.6, 0.2, 0.8)}, {"A": 300})
    assert compare(constant, moved, CONFIG)[0].rejected


N = 1000
NOISE: dict[str, tuple[str, Any, Any]] = {
    # (feature, the reference's values, the window's): no drift
    "1 and 1 - 1e-7": ("letter_mass", [1.0], [1 - 1e-7]),
    "1 and 1 + 1e-7": ("letter_mass", [1.0], [1 + 1e-7]),
    "1 and the next smaller float32": ("letter_mass", [1.0], [1 - 2**-24]),
    "1 and the next smaller float64": ("letter_mass", [1.0], [1 - 2**-53]),
    "half of it": ("letter_mass", [1.0], [1.0, 1 - 1e-7]),
    "the other way round": ("letter_mass", [1 - 1e-7], [1.0]),
    "noise in the reference": ("letter_mass", [1.0, 1 - 1e-16], [1 - 1e-7]),
    "noise in both": ("letter_mass", [1 - 1e-7, 1 - 2e-7], [1 - 3e-7, 1 - 4e-7]),
    "two crowds": ("letter_mass", [1.0, 0.5], [1 - 1e-7, 0.5 - 1e-7]),
    "zeros of two signs": ("entropy", [0.0], [-0.0]),
    "nearly none": ("entropy", [0.0], [1e-12]),
    "a certain model": ("confidence", [1.0], [1 - 1e-6]),
    "a certain model on another processor": ("confidence", [0.9999, 1.0], [0.9995, 0.9998]),
    "margins": ("margin", [1.0], [0.9999]),
    "one template of one length, and a line end": ("prompt_tokens", [40.0], [40.0, 41.0]),
    "a feature of a later release": ("surprise", [5.0], [5 + 1e-7]),
    "what is no number is left out": ("letter_mass", [1.0], [1 - 1e-7, float("nan"), float("inf"), -float("inf")]),
    "nothing but that": ("letter_mass", [1.0], [float("nan")]),
}
MOVES: dict[str, tuple[str, Any, Any]] = {
    "a tenth of the mass": ("letter_mass", [1.0], [1.0, 0.8]),
    "a thousandth of the mass": ("letter_mass", [1.0], [0.999]),
    "a thousandth in a crowd": ("letter_mass", [1.0, 0.9999], [0.999, 0.9989]),
    "a certain model that doubts": ("confidence", [1.0], [0.95]),
    "a doubting one that is certain": ("confidence", [0.5], [0.6]),
    "three tokens": ("prompt_tokens", [40.0], [43.0]),
    "a spread of its own": ("entropy", [0.1, 0.3, 0.5], [0.3, 0.5, 0.7]),
    "a feature of a later release": ("surprise", [5.0], [5.1]),
}


def measured(feature: str, reference: list[float], window: list[float]) -> list[CheckResult]:
    """The checks of two windows in a row of N answers each, which take the values in turn."""

    def answers(values: list[float]) -> list[float]:
        return [values[i % len(values)] for i in range(N)]

    expected = summarise({feature: answers(reference)}, ["A"] * N)
    state, out = State("7"), []
    for hour in (1.0, 2.0):
        seen = Window(expected)
        seen.add({feature: answers(window)}, ["A"] * N)
        out.append(evaluate(expected, seen.summary(), state, hour))
        state = out[-1].state
    return out


@pytest.mark.parametrize("name", NOISE)
def test_float_noise_is_no_drift(name: str) -> None:
    checks = measured(*NOISE[name])
    assert [c.verdict for c in checks] == ["no-drift", "no-drift"], str(checks[-1].reason)
    assert not any(c.alarm for c in checks)
    assert json.loads(json.dumps(checks[-1].to_dict(), allow_nan=False))


@pytest.mark.parametrize("name", MOVES)
def test_what_really_moves_is_seen_beside_it(name: str) -> None:
    assert [c.verdict for c in measured(*MOVES[name])] == ["suspect", "drift"]


def test_noise_in_one_feature_makes_no_other_look_likelier() -> None:
    """Benjamini-Hochberg lets a second p-value be the larger, the smaller the first is."""
    reference = Reference(
        {"confidence": FeatureReference(N, 0.5, 0.2, (0.5,)), "letter_mass": FeatureReference(N, 1.0, 0.0, (1.0,))}, {}
    )
    noise, none = Distance(N, 1.0, 1e-7, 1.0), Distance(N, 0.0, 0.0, 1.0)
    moved = Distance(N, 0.075, 0.1, 0.6)
    beside = [
        compare(reference, Summary(N, {"confidence": moved, "letter_mass": other}, {}), CONFIG)[0].p_adjusted
        for other in (none, noise)
    ]
    assert beside[0] == beside[1]


def test_every_feature_has_its_own_smallest_difference() -> None:
    assert set(LEAST) == set(FEATURES)
    assert all(least > 0 for least in LEAST.values())


@pytest.mark.parametrize("bad", [{"alpha": 0}, {"min_sample": 0}, {"enough": 10}, {"consecutive": 0}])
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="found"):
        Config(**bad)
