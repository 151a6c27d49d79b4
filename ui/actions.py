"""What changes production: off unless enabled, confirmed with its consequence named, and done in somebody's name."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from ui import elements, facts
from ui.elements import Cell
from ui.language import parts, t
from ui.settings import UiSettings, read_settings

_logger = logging.getLogger(__name__)
_ASKING, _OUTCOME = "action asking", "action outcome"


@dataclass(frozen=True, slots=True)
class Operator:
    """Who looks at the page. `refusal` says why they may not act, "" where they may."""

    name: str
    refusal: str


def operator(settings: UiSettings | None = None) -> Operator:
    settings = settings or read_settings(os.environ)
    name = _name(settings)
    if not settings.actions:
        return Operator(name, t("app.action.off"))
    if settings.login == "oidc" and not _is_verified():
        return Operator(name, t("app.action.unverified", who=name))
    if settings.operators and name.lower() not in settings.operators:
        return Operator(name, t("app.action.not_operator", who=name))
    return Operator(name, "")


def action(
    label: str,
    act: Callable[[str], Sequence[Cell]],
    *,
    title: str,
    consequence: Sequence[Cell],
    key: str,
    disabled: bool = False,
) -> None:
    """A button that asks before it acts. `label` and `title` are the catalogue's: Streamlit reads Markdown in both.

    `act` gets who acts and returns what came of it, as a sentence; an exception of it is shown and changes nothing.
    """
    who, asking = operator(), f"{_ASKING} {key}"
    st.button(label, key=f"{key} button", disabled=disabled or bool(who.refusal), on_click=_set, args=(asking, True))
    if st.session_state.get(asking) and not who.refusal:
        with st.container(border=True, key=f"{key.replace(' ', '-')}-confirmation"):
            st.subheader(title)
            elements.paragraph(*consequence, key=f"{key} consequence")
            elements.paragraph(t("app.action.who", who=who.name), key=f"{key} who")
            yes, no = st.columns(2)
            yes.button(t("app.action.confirm"), key=f"{key} confirm", type="primary", on_click=_decide, args=(key, act))
            no.button(t("app.action.cancel"), key=f"{key} cancel", on_click=_set, args=(asking, False))
    if (outcome := st.session_state.pop(f"{_OUTCOME} {key}", None)) is not None:
        kind, sentence = outcome
        elements.notice(kind, *sentence, key=f"{key} outcome")


def is_asking(key: str) -> bool:
    """Whether the confirmation of this action is open."""
    return bool(st.session_state.get(f"{_ASKING} {key}"))


def dismiss(key: str) -> None:
    """Closes the confirmation: what it was about is over."""
    st.session_state.pop(f"{_ASKING} {key}", None)


def explain_refusal() -> None:
    """Once a page: why its actions cannot be used, where they cannot."""
    if refusal := operator().refusal:
        elements.notice("info", refusal)


def _set(name: str, value: object) -> None:
    st.session_state[name] = value


def _decide(key: str, act: Callable[[str], Sequence[Cell]]) -> None:
    _set(f"{_ASKING} {key}", False)
    _set(f"{_OUTCOME} {key}", _act(act, key))


def _act(act: Callable[[str], Sequence[Cell]], key: str) -> tuple[str, Sequence[Cell]]:
    who = operator()
    if who.refusal:  # it was allowed when the page was drawn
        return "error", [who.refusal]
    try:
        outcome = "success", act(who.name)
    except Exception as error:  # noqa: BLE001 - a refusal, or a part that is down: its line is for whoever acted
        _logger.warning("%s by %s failed: %s", key, who.name, error)
        return "error", parts("app.action.failed", error=" ".join(str(error).split()) or type(error).__name__)
    _logger.info("%s by %s", key, who.name)
    facts.forget()
    return outcome


def _name(settings: UiSettings) -> str:
    if settings.login == "oidc":
        address = st.user.get("email") if _is_verified() else None
        return str(address or st.user.get("sub") or "")
    try:
        return f"{getpass.getuser()} (page)"
    except (KeyError, OSError):  # a container whose user has no name
        return "page"


def _is_verified() -> bool:
    """Whether the e-mail address is the viewer's: a provider may let people write anybody's into their profile."""
    return st.user.get("email_verified", True) in (True, "true")
