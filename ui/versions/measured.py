"""How good a version is: accuracy by subject, the reliability diagram with and without letter prior, the letters."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from mcqa.readmodels.evaluations import Bin, Calibration, EvaluationFacts, Measured
from ui import elements
from ui.charts import chart
from ui.elements import Cell, Link, Time
from ui.language import number, percent, t
from ui.theme import SERIES
from ui.versions.listing import version_link

# texts: versions.column.*
# texts: versions.mix.*
ROW = 28
"""Pixels for a subject: Streamlit fits a chart into its height, which Vega cannot where it follows from the rows."""
MIXES = ("current", "old", "bank")


def show(facts: EvaluationFacts, version: str) -> None:
    st.subheader(t("versions.accuracy"))
    elements.paragraph(*_source(facts), key="versions source")
    named = {mix["mix"]: mix for mix in facts["mixes"] if mix["mix"] in MIXES}
    if not named:
        return
    mix = next(iter(named))
    if len(named) > 1:
        mix = st.radio(
            t("versions.which_mix"), list(named), format_func=lambda name: t(f"versions.mix.{name}"), horizontal=True,
            key=f"versions mix {version}",
        )  # fmt: skip
    shown = named[mix]
    whole = shown["accuracy"]
    elements.paragraph(
        t(
            "versions.whole",
            value=percent(whole["value"]),
            low=percent(whole["low"]),
            high=percent(whole["high"]),
            n=number(whole["total"]),
            chance=percent(shown["chance"]),
        ),
        key="versions whole",
    )
    _subjects(shown)
    _reliability(shown)
    _letters(shown)


def _source(facts: EvaluationFacts) -> list[Cell]:
    page: list[Cell] = [" ", Link(t("versions.open_evaluation"), facts["page"])] if facts["page"] else []
    match facts["source"]:
        case "challenger":
            told: list[Cell] = [t("versions.measured_challenger"), " ", version_link(facts["against"] or "")]
        case "champion":
            told = [t("versions.measured_champion")]
        case _:
            return [t("versions.measured_folder")]
    return [*told, ", ", Time(facts["measured_at"]), ".", *page]


def _data(values: list[dict[str, Any]]) -> Any:
    return alt.Data(values=values)  # type: ignore[no-untyped-call]


def _subjects(mix: Measured) -> None:
    values: list[dict[str, Any]] = [
        {"subject": name or t("versions.no_subject"), **share}
        for name, share in sorted(mix["subjects"].items(), key=lambda item: -item[1]["value"])
    ]
    base = alt.Chart(_data(values)).encode(
        y=alt.Y("subject:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
    )
    accuracy = alt.X(
        "value:Q", title=t("versions.accuracy"), scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)
    )
    interval = base.mark_rule(strokeWidth=3, color=SERIES[0]).encode(
        x=alt.X("low:Q", title=t("versions.accuracy")), x2="high:Q"
    )
    point = base.mark_point(filled=True, size=90, color=SERIES[0], opacity=1).encode(x=accuracy)
    chance = alt.Chart(_data([{"chance": mix["chance"]}])).mark_rule(strokeDash=[4, 4], color="#8a8f98")
    layers = [interval, point, *([chance.encode(x="chance:Q")] if mix["chance"] is not None else [])]
    rows: list[list[Cell]] = [
        [row["subject"], number(row["total"]), percent(row["value"]), percent(row["low"]), percent(row["high"])]
        for row in values
    ]
    columns = [t(f"versions.column.{name}") for name in ("subject", "questions", "accuracy", "low", "high")]
    drawing = alt.layer(*layers).properties(height=70 + ROW * len(values))
    chart(drawing, alt_text=t("versions.subjects_alt"), columns=columns, rows=rows, numeric=(1, 2, 3, 4),
          key="versions subjects")  # fmt: skip


def _reliability(mix: Measured) -> None:
    st.subheader(t("versions.calibration"))
    before = mix["before"]
    elements.paragraph(
        t("versions.calibration_means" if before else "versions.calibration_no_prior"), key="versions cal"
    )
    series = [(t("versions.with_prior") if before else t("versions.answers_as_served"), mix["bins"])]
    if before:
        series.insert(0, (t("versions.without_prior"), before["bins"]))
    names = [name for name, _ in series]
    values = [{"series": name, **b} for name, bins in series for b in bins]
    colours = alt.Scale(domain=names, range=[SERIES[1], SERIES[0]] if before else [SERIES[0]])
    dashes = alt.Scale(domain=names, range=[[4, 2], [1, 0]] if before else [[1, 0]])
    shapes = alt.Scale(domain=names, range=["square", "circle"] if before else ["circle"])
    unit = alt.Scale(domain=[0, 1])
    legend = alt.Legend(orient="top", columns=1, labelLimit=320)  # the same for all three, which Vega then draws as one
    points = (
        alt.Chart(_data(values))
        .mark_line(point={"filled": True, "size": 70}, strokeWidth=2)
        .encode(
            x=alt.X("confidence:Q", title=t("versions.confidence"), scale=unit, axis=alt.Axis(format="%", tickCount=5)),
            y=alt.Y("accuracy:Q", title=t("versions.share_right"), scale=unit, axis=alt.Axis(format="%", tickCount=5)),
            color=alt.Color("series:N", title=None, scale=colours, legend=legend),
            shape=alt.Shape("series:N", title=None, scale=shapes, legend=legend),
            strokeDash=alt.StrokeDash("series:N", title=None, scale=dashes, legend=legend),
        )
    )
    ends = _data([{"x": 0, "y": 0}, {"x": 1, "y": 1}])
    perfect = alt.Chart(ends).mark_line(strokeDash=[2, 4], color="#8a8f98").encode(x="x:Q", y="y:Q")
    rows = [row for name, bins in series for row in _bins(name, bins)]
    columns = [t(f"versions.column.{name}") for name in ("answers_of", "bin", "answers", "confidence", "right")]
    chart(alt.layer(perfect, points).properties(height=420), alt_text=t("versions.reliability_alt"), columns=columns,
          rows=rows, numeric=(2, 3, 4), key="versions reliability")  # fmt: skip
    _measures(mix, before)


def _bins(name: str, bins: list[Bin]) -> list[list[Cell]]:
    return [
        [name, f"{percent(b['low'], 0)}–{percent(b['high'], 0)}", number(b["count"]), percent(b["confidence"]),
         percent(b["accuracy"])]
        for b in bins
    ]  # fmt: skip


def _measures(mix: Measured, before: Calibration | None) -> None:
    sides: list[Calibration] = [*([before] if before else []), mix]
    rows: list[list[Cell]] = [
        [t("versions.accuracy"), *(percent(side["accuracy"]["value"]) for side in sides)],
        [t("versions.brier"), *(number(side["brier"], 3) for side in sides)],
        [t("versions.nll"), *(number(side["nll"], 3) for side in sides)],
        [t("versions.ece"), *(number(side["ece"], 3) for side in sides)],
        [t("versions.rstd"), *(number(side["rstd"], 3) for side in sides)],
    ]
    heads = [t("versions.without_prior"), t("versions.with_prior")] if before else [t("versions.column.value")]
    columns = [t("versions.column.measure"), *heads]
    numeric = range(1, len(columns))
    elements.table(t("versions.measures"), columns, rows, numeric=numeric, hide_caption=True, key="versions measures")


def _letters(mix: Measured) -> None:
    st.subheader(t("versions.letters"))
    elements.paragraph(t("versions.letters_means", rstd=number(mix["rstd"], 3)), key="versions letters means")
    kinds = {"right": t("versions.letter_right"), "chosen": t("versions.letter_chosen")}
    values = [
        {"letter": row["letter"], "kind": kinds[kind], "count": row[kind]}  # type: ignore[literal-required]
        for row in mix["letters"]
        for kind in kinds
    ]
    names = list(kinds.values())
    most = max((max(row["right"], row["chosen"]) for row in mix["letters"]), default=0) or 1
    bars = (
        alt.Chart(_data(values))
        .mark_bar(stroke="#8a8f98", strokeWidth=1)
        .encode(
            x=alt.X("letter:N", title=t("versions.letter"), axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("kind:N", sort=names),
            # With its scale given: Streamlit sends the data after the chart, and Vega warns of what has no extent yet.
            y=alt.Y("count:Q", title=t("versions.column.questions"), stack=False, scale=alt.Scale(domain=[0, most])),
            color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=names, range=["#9AA5B1", SERIES[0]]),
                            legend=alt.Legend(orient="top", columns=1, labelLimit=320)),
        )
    )  # fmt: skip
    rows: list[list[Cell]] = [
        [row["letter"], number(row["right"]), number(row["chosen"]), percent(row["recall"])] for row in mix["letters"]
    ]
    columns = [t(f"versions.column.{name}") for name in ("letter", "right_count", "chosen_count", "recall")]
    chart(bars.properties(height=300), alt_text=t("versions.letters_alt"), columns=columns, rows=rows,
          numeric=(1, 2, 3), key="versions letters")  # fmt: skip
