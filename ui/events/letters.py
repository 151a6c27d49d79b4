"""Dead letters: which event, who refused it and why; replaying and discarding it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from mcqa import dead_letter_actions
from mcqa.readmodels import dead_letters
from mcqa.readmodels.dead_letters import DeadLetterFacts
from ui import elements, facts
from ui.actions import action, explain_refusal
from ui.elements import Badge, Cell, Code, Link, Time
from ui.events.data import show_data, with_shown_data
from ui.events.rows import trace_link
from ui.events.search import environ
from ui.language import count, parts, t
from ui.live import live

LIMIT = 100
SETTLE_SECONDS = 3.0
"""A function that still refuses an event does so at once."""
_REASON = 300


def show_letters() -> None:
    every = st.checkbox(t("events.letters.every"), key="letters every")
    _list(every)
    explain_refusal()
    open_ones = facts.read(_read, False)
    names = [letter["name"] for letter in open_ones.value or ()]
    if names:
        action(
            t("events.letters.replay_all"),
            _replay_all,
            title=t("events.letters.replay_all"),
            consequence=[count("events.letters.replay_all_means", len(names))],
            key="letters replay all",
        )


@live()
def _list(every: bool) -> None:
    letters = facts.shown(facts.read(_read, every), t("events.part.letters"))
    if letters is None:
        return
    elements.table(
        t("events.letters.title"),
        [t("events.letters.name"), t("events.letters.last"), t("events.letters.times"), t("events.way.state"),
         t("events.column.type"), t("events.letters.refused_by"), t("events.letters.reason")],
        [_row(letter) for letter in letters],
        empty=t("events.letters.none"),
        numeric=(2,),
        stack=True,
        key="letters",
    )  # fmt: skip


def _read(every: bool) -> list[DeadLetterFacts]:
    return dead_letters.read(environ(), LIMIT, every=every)


def _row(letter: DeadLetterFacts) -> list[Cell]:
    code: list[Cell] = [Code(str(letter["code"])), " "] if letter["code"] else []
    return [
        Link(letter["name"], f"/events?letter={letter['name']}"),
        Time(letter["last_at"]),
        letter["times"],
        _state(letter["state"]),
        Code(letter["type"]),
        _function(letter["destination"]),
        [*code, " ".join(letter["reason"].split())[:_REASON]],
    ]


def _state(state: str) -> Badge:
    kinds = {"open": "bad", "replayed": "good", "discarded": "info"}
    # texts: events.letters.state.*
    return Badge(kinds.get(state, "info"), t(f"events.letters.state.{state}"))  # type: ignore[arg-type]


def _function(destination: str) -> str:
    """Of a URL the first part of its host, which is the function's name; of a Trigger its last part."""
    host = urlsplit(destination).hostname
    return host.partition(".")[0] if host and not host[0].isdigit() else destination.rpartition("/")[2] or destination


def show_letter(name: str) -> None:
    elements.paragraph(Link(t("events.back"), "/events?view=letters"), key="letter back")
    st.header(t("events.letters.one"))
    if dead_letters.is_kept_by_broker(name):
        _show_kept(name)
        return
    letter = facts.shown(facts.read(_find, name), t("events.part.letters"))
    if letter is None:
        if facts.read(_find, name).ok:
            elements.notice("warning", *parts("events.letters.gone", name=name[:80]), key="letter gone")
        return
    elements.details(_details(letter), key="letter details")
    explain_refusal()
    usable = letter["state"] == "open"
    consequence = parts("events.letters.replay_means", type=Code(letter["type"]))
    replay, discard = st.columns(2)
    with replay:
        action(
            t("events.letters.replay"), lambda by: _replay(name, by), title=t("events.letters.replay"),
            consequence=consequence, key=f"letter replay {name}", disabled=not usable,
        )  # fmt: skip
    with discard:
        action(
            t("events.letters.discard"), lambda by: _discard(name, by), title=t("events.letters.discard"),
            consequence=[t("events.letters.discard_means")], key=f"letter discard {name}", disabled=not usable,
        )  # fmt: skip
    st.subheader(t("events.event.data"))
    show_data(letter["data"])


def _find(name: str) -> dict[str, Any] | None:
    found = dead_letters.find(environ(), name)
    return None if found is None else with_shown_data(found)


def _details(letter: Mapping[str, Any]) -> dict[str, Cell]:
    return {
        t("events.way.state"): _state(letter["state"]),
        t("events.column.type"): Code(letter["type"]),
        t("events.column.source"): Code(letter["source"]),
        t("events.event.id"): Code(letter["id"]),
        t("events.letters.refused_by"): Code(letter["destination"]),
        t("events.way.status"): letter["code"],
        t("events.letters.reason"): letter["reason"],
        t("events.letters.times"): letter["times"],
        t("events.letters.first"): Time(letter.get("first_at")),
        t("events.letters.last"): Time(letter["last_at"]),
        t("events.column.trace"): trace_link(letter["event"]),
    }


def _show_kept(name: str) -> None:
    """One that not even the function dead-letters took: the broker has it, and can try its Trigger again."""
    letters = facts.shown(facts.read(_read, False), t("events.part.letters"))
    if letters is None:
        return
    letter = next((item for item in letters if item["name"] == name), None)
    if letter is None:
        elements.notice("warning", *parts("events.letters.gone", name=name[:80]), key="letter gone")
        return
    event = name.partition("-")[0]
    shown: dict[str, Cell] = {
        t("events.column.number"): Link(event, f"/events?event={event}"),
        t("events.column.type"): Code(letter["type"]),
        t("events.letters.refused_by"): Code(letter["destination"]),
        t("events.way.status"): letter["code"],
        t("events.letters.reason"): letter["reason"],
        t("events.letters.last"): Time(letter["last_at"]),
    }
    elements.details(shown, key="letter details")
    elements.paragraph(t("events.letters.kept"), key="letter kept")
    explain_refusal()
    action(
        t("events.letters.replay"), lambda by: _replay_kept(letter, by), title=t("events.letters.replay"),
        consequence=[t("events.letters.kept_means")], key=f"letter replay {name}",
    )  # fmt: skip


def _replay(name: str, by: str) -> Sequence[Cell]:
    outcome, times = dead_letter_actions.replay_by_name(environ(), name, by)
    if outcome == "sent" and _came_back(name, times):
        return [t("events.letters.outcome.returned")]
    return [t(f"events.letters.outcome.{outcome}")]  # texts: events.letters.outcome.*


def _replay_kept(letter: DeadLetterFacts, by: str) -> Sequence[Cell]:
    done = dead_letter_actions.replay_kept(environ(), [(letter["name"], letter["type"])], by)
    return [t("events.letters.outcome.queued" if done else "events.letters.outcome.unknown")]


def _came_back(name: str, times: int) -> bool:
    """Whether it was refused again within a few seconds."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        letter = _find(name)
        if letter is not None and letter["times"] > times:
            return True
        time.sleep(0.25)
    return False


def _replay_all(by: str) -> Sequence[Cell]:
    letters = _read(False)
    kept = [letter for letter in letters if dead_letters.is_kept_by_broker(letter["name"])]
    stored = [letter["name"] for letter in letters if letter not in kept]
    done = dead_letter_actions.replay_every(environ(), stored, by)
    done += dead_letter_actions.replay_kept(environ(), [(letter["name"], letter["type"]) for letter in kept], by)
    return [count("events.letters.replayed", done)]


def _discard(name: str, by: str) -> Sequence[Cell]:
    outcome = dead_letter_actions.discard_by_name(environ(), name, by)
    return [t(f"events.letters.outcome.{outcome}")]
