"""Two versions, question by question: who was right, by how much, and each question with both answers."""

from __future__ import annotations

import streamlit as st

from common.question import LETTERS
from mcqa.readmodels.comparison import OUTCOMES, Chosen, ComparisonFacts, Item, Outcome
from ui import elements
from ui.elements import Badge, Cell, Strong
from ui.language import number, percent, t

# texts: versions.column.*
# texts: versions.outcome.*
# texts: versions.compare.source.*
# texts: versions.mix.*
SHOWN = 5
EVERY = "every"


def show(facts: ComparisonFacts) -> None:
    if facts["source"] == "none":
        _nothing(facts)
        return
    mine, other = facts["version"], facts["against"]
    elements.paragraph(
        t(f"versions.compare.source.{facts['source']}", n=number(facts["questions"])), key="versions compare source"
    )
    if (difference := facts["difference"]) is not None:
        elements.paragraph(
            t(
                "versions.compare.difference",
                version=mine,
                against=other,
                value=_points(difference["value"]),
                low=_points(difference["low"]),
                high=_points(difference["high"]),
            ),
            key="versions compare difference",
        )
    rows: list[list[Cell]] = [
        [_outcome(name, facts), number(count), percent(count / facts["questions"])]
        for name, count in facts["outcomes"].items()
        if count
    ]
    columns = [t(f"versions.column.{name}") for name in ("outcome", "questions", "share")]
    elements.table(t("versions.compare.outcomes"), columns, rows, numeric=(1, 2), key="versions outcomes")
    if facts["subjects"]:
        _subjects(facts)
    _questions(facts)


def _nothing(facts: ComparisonFacts) -> None:
    if facts["without"]:
        elements.notice(
            "info", t("versions.compare.without", versions=", ".join(facts["without"])), key="versions nothing"
        )
    else:
        elements.notice("info", t("versions.compare.no_shared"), key="versions nothing")
    if facts["problem"]:
        elements.notice("warning", t("versions.compare.no_database"), " ", facts["problem"], key="versions problem")


def _subjects(facts: ComparisonFacts) -> None:
    rows: list[list[Cell]] = [
        [
            row["subject"] or t("versions.no_subject"),
            number(row["questions"]),
            percent(row["version"] / row["questions"]),
            percent(row["against"] / row["questions"]),
            _points((row["version"] - row["against"]) / row["questions"]),
        ]
        for row in facts["subjects"]
    ]
    names = [t("versions.one", version=facts["version"]), t("versions.one", version=facts["against"])]
    columns = [t("versions.column.subject"), t("versions.column.questions"), *names, t("versions.column.change")]
    elements.table(t("versions.compare.by_subject"), columns, rows, numeric=(1, 2, 3, 4), key="versions by subject")


def _questions(facts: ComparisonFacts) -> None:
    st.subheader(t("versions.compare.each"))
    present = [name for name in OUTCOMES if facts["outcomes"][name]]
    pair = f"{facts['version']} {facts['against']}"
    which = st.selectbox(
        t("versions.compare.which"), [*present, EVERY], key=f"versions which {pair}",
        format_func=lambda name: t("versions.compare.every") if name == EVERY else _outcome(name, facts),
    )  # fmt: skip
    items = [item for item in facts["items"] if which in (EVERY, item["outcome"])]
    pages = max(1, -(-len(items) // SHOWN))
    page = 1
    if pages > 1:
        page = int(
            st.number_input(t("versions.compare.page", n=pages), 1, pages, 1, key=f"versions page {pair} {which}")
        )
    for place, item in enumerate(items[(page - 1) * SHOWN : page * SHOWN]):
        _question(item, facts, (page - 1) * SHOWN + place + 1, len(items))


def _question(item: Item, facts: ComparisonFacts, place: int, total: int) -> None:
    with st.container(border=True):
        key = f"versions item {place}"
        subject = item["subject"] or t("versions.no_subject")
        elements.heading(3, t("versions.compare.item", n=place, total=total, subject=subject), key=f"{key} head")
        elements.paragraph(item["question"], key=key)
        if item["code"]:
            st.code(item["code"], language="python")
        rows: list[list[Cell]] = []
        for at, choice in enumerate(item["choices"]):
            right: list[Cell] = ["  ", Badge("good", t("versions.compare.right"))] if at == item["right"] else []
            chosen = [_chose(item, side, at) for side in (item["version"], item["against"])]
            rows.append([[Strong(LETTERS[at]), " ", choice, *right], *chosen])
        names = [t("versions.one", version=facts["version"]), t("versions.one", version=facts["against"])]
        columns = [t("versions.column.choice"), *names]
        elements.table(t("versions.compare.answers", n=place), columns, rows, hide_caption=True, key=f"{key} choices")


def _chose(item: Item, chosen: Chosen, place: int) -> Cell:
    if chosen["choice"] != place:
        return ""
    kind = "info" if item["right"] is None else "good" if item["right"] == place else "bad"
    sure = t("versions.compare.chosen") if chosen["confidence"] is None else percent(chosen["confidence"])
    return Badge(kind, sure)  # type: ignore[arg-type]


def _outcome(name: Outcome | str, facts: ComparisonFacts) -> str:
    return t(f"versions.outcome.{name}", version=facts["version"], against=facts["against"])


def _points(share: float) -> str:
    """0.042 as +4.2: percentage points."""
    sign = "−" if share < 0 else "+"
    return sign + number(abs(100 * share), 1)
