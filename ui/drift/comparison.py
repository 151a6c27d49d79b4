"""A window next to its baseline: the evidence of each feature, its distribution, and one check explained."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from mcqa.readmodels.drift import Baseline, Check
from mcqa.readmodels.drift_distributions import Distributions, Evidence, FeatureDistribution
from ui import charts, elements, facts
from ui.drift import drawings, readers, wording
from ui.elements import Badge, Cell, Link, Time
from ui.language import number, parts, percent, t
from ui.live import live

SECONDS = 30.0
"""To draw it costs as much as all else that the page does, and a window grows slowly."""
IN_A_ROW = 3


def one_check(check: Check, consecutive: int, baseline: Sequence[Cell]) -> None:
    """One check: its verdict, and why."""
    st.header(t("drift.check.title", n=check["sequence"]))
    window = parts("drift.check.window", since=Time(check["window_start"]), until=Time(check["window_end"]))
    shown: dict[str, Cell] = {
        t("drift.check.verdict"): wording.verdict(check),
        t("drift.check.why"): wording.reason(check),
        t("drift.check.version"): Link(
            t("drift.version", version=check["version"]), f"/versions?version={check['version']}"
        ),
        t("drift.check.when"): Time(check["checked_at"]),
        t("drift.check.answers"): [number(check["n"]), ", ", *window],
        t("drift.check.baseline"): list(baseline),
    }
    if check["streaks"]:
        rows = (f"{wording.feature(name)} {windows}" for name, windows in check["streaks"].items())
        shown[t("drift.now.streaks")] = t("drift.now.in_a_row", features=", ".join(rows), needed=consecutive)
    if trace := wording.trace_link(check["traceparent"]):
        shown[t("drift.alarm.trace")] = trace
    elements.details(shown, key="drift check")
    for item in check["evidence"]:
        if item["rejected"]:
            elements.paragraph(wording.moved(item), key=f"drift check moved {item['feature']}")
    if check["alarm"]:
        elements.paragraph(t("drift.check.rule", needed=consecutive), key="drift check rule")


def compared(check: int | None) -> None:
    """The distributions of a check's window, which is closed, or of the open one, which goes on."""
    if check is None:
        _live_comparison()
    else:
        _comparison(check)


@live(SECONDS)
def _live_comparison() -> None:
    _comparison(None)


def _comparison(check: int | None) -> None:
    found = facts.shown(facts.read(readers.distributions, check, seconds=SECONDS), t("drift.part.distributions"))
    if found is None:
        return
    if found["check"] is None and found["problem"] == "no-answers":  # nothing to compare: not a table of dashes
        elements.notice("info", t("drift.problem.no_answers_yet"), key="drift compare problem")
        return
    if found["problem"]:
        problem = f"drift.problem.{found['problem'].replace('-', '_')}"  # texts: drift.problem.*
        elements.notice("info", t(problem), key="drift compare problem")
    if not found["features"] or found["baseline"] is None:
        return
    elements.paragraph(*_what(found, found["baseline"]), key="drift compare what")
    _evidence_table(found)
    if found["n"]:
        _drawings(found)


def _what(found: Distributions, baseline: Baseline) -> list[Cell]:
    window = parts("drift.check.window", since=Time(found["since"]), until=Time(found["until"]))
    key = "drift.compare.open" if found["check"] is None else "drift.compare.check"
    said = parts(
        key,
        n=number(found["n"]),
        window=window,
        check=str(found["check"]),
        baseline=wording.baseline(baseline),
    )
    return [*said, *([" ", t("drift.compare.sampled", n=number(found["n"]))] if found["sampled"] else [])]


def _evidence_table(found: Distributions) -> None:
    columns = ["feature", "result", "effect", "floor", "p", "mean", "mean_baseline", "n", "n_baseline"]
    few = found["n"] < found["needed"]
    rows = [_row(f, few) for f in found["features"]]
    if item := found["letter_evidence"]:
        blank = ("—", "—")
        figures = _figures(item, few)
        rows.append([wording.feature("letter"), *figures, *blank, number(item["n"]), number(item["n_reference"])])
    elements.table(
        t("drift.evidence.caption"),
        [t(f"drift.evidence.{name}") for name in columns],  # texts: drift.evidence.*
        rows,
        numeric=range(2, len(columns)),
        stack=True,
        key="drift evidence",
    )


def _row(f: FeatureDistribution, few: bool) -> list[Cell]:
    digits = 1 if f["feature"] == "prompt_tokens" else 4
    means = number(f["mean"], digits) if f["n"] else "—", number(f["mean_baseline"], digits)
    figures = _figures(f["evidence"], few)
    return [wording.feature(f["feature"]), *figures, *means, number(f["n"]), number(f["n_baseline"])]


def _figures(item: Evidence | None, few: bool) -> list[Cell]:
    """Of a few answers neither "moved" nor "not moved" is known, and their distance means nothing."""
    if few:
        return [Badge("wait", t("drift.evidence.few")), "—", "—" if item is None else number(item["floor"], 2), "—"]
    if item is None:
        return ["—"] * 4
    result = Badge("bad", t("drift.evidence.moved")) if item["rejected"] else Badge("good", t("drift.evidence.same"))
    unit = t("drift.unit.v") if item["test"] == "chi-square" else t("drift.unit.sd")
    effect = f"{number(item['effect'], 3)} {unit}"
    return [result, effect, number(item["floor"], 2), wording.probability(item["p_adjusted"])]


def _drawings(found: Distributions) -> None:
    panels = [*found["features"], None]
    for begin in range(0, len(panels), IN_A_ROW):
        for column, f in zip(st.columns(IN_A_ROW), panels[begin : begin + IN_A_ROW], strict=False):
            with column:
                if f is None:
                    _letters(found)
                else:
                    _feature(f)


def _feature(f: FeatureDistribution) -> None:
    name = wording.feature(f["feature"])
    digits = 0 if f["feature"] == "prompt_tokens" else 4
    charts.chart(
        drawings.distribution(f["bins"], name),
        alt_text=t("drift.compare.alt", feature=name, n=number(f["n"]), n_baseline=number(f["n_baseline"])),
        columns=[t("drift.side.from"), t("drift.side.to"), t("drift.side.baseline"), t("drift.side.current")],
        rows=[
            [number(b["low"], digits), number(b["high"], digits), percent(b["baseline"]), percent(b["current"])]
            for b in f["bins"]
        ],
        numeric=(0, 1, 2, 3),
        key=f"drift {f['feature']}",
    )


def _letters(found: Distributions) -> None:
    name = wording.feature("letter")
    n_baseline = sum(share["n_baseline"] for share in found["letters"])
    charts.chart(
        drawings.letters(found["letters"], name),
        alt_text=t("drift.compare.alt", feature=name, n=number(found["n"]), n_baseline=number(n_baseline)),
        columns=[name, t("drift.side.baseline"), t("drift.side.current")],
        rows=[[share["letter"], percent(share["baseline"]), percent(share["current"])] for share in found["letters"]],
        numeric=(1, 2),
        key="drift letter",
    )
