"""What changes production: off unless enabled, confirmed with its consequence named, and done in somebody's name."""

from __future__ import annotations

import getpass
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui import elements, facts
from ui.elements import Cell
from ui.language import parts, t
from ui.settings import EVERYBODY, SUBJECT, UiSettings, read_settings

_logger = logging.getLogger(__name__)
_ASKING, _OUTCOME = "action asking", "action outcome"
OUTCOME_SECONDS = 30.0


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
    return Operator(name, _refusal(settings, name) if settings.login == "oidc" else "")


def _refusal(settings: UiSettings, name: str) -> str:
    if name and (EVERYBODY in settings.operators or settings.operators & _vouched()):
        return ""
    unverified = st.user.get("email") and not _is_verified()
    return t("app.action.unverified" if unverified else "app.action.not_operator", who=name)


def _vouched() -> set[str]:
    """The names that the provider vouches for, as operators are listed: a verified address, and the account's id.

    Only ASCII addresses: of others, two that differ can become the same in lower case.
    """
    names = {f"{SUBJECT}{subject}"} if (subject := st.user.get("sub")) else set()
    address = str(st.user.get("email") or "")
    return names | ({address.lower()} if address.isascii() and address and _is_verified() else set())


def action(
    label: str,
    act: Callable[[str], Sequence[Cell]],
    *,
    title: str,
    consequence: Sequence[Cell],
    key: str,
    disabled: bool = False,
    below: DeltaGenerator | None = None,
) -> None:
    """A button that asks before it acts. `label` and `title` are the catalogue's: Streamlit reads Markdown in both.

    `act` gets who acts and returns what came of it, as a sentence; an exception of it is shown and changes nothing.
    The question and the outcome appear in the container `below`, else after the button.
    """
    who, asking = operator(), f"{_ASKING} {key}"
    st.button(label, key=f"{key} button", disabled=disabled or bool(who.refusal), on_click=_set, args=(asking, True))
    with below if below is not None else st.container():
        if st.session_state.get(asking) and not who.refusal and not disabled:
            _ask(key, act, title, consequence, who.name)
        show_outcome(key)


def _ask(key: str, act: Callable[[str], Sequence[Cell]], title: str, consequence: Sequence[Cell], who: str) -> None:
    with st.container(border=True, key=f"{key.replace(' ', '-')}-confirmation"):
        st.subheader(title)
        elements.paragraph(*consequence, key=f"{key} consequence")
        elements.paragraph(t("app.action.who", who=who), key=f"{key} who")
        with st.container(horizontal=True, key=f"{key.replace(' ', '-')}-answers"):
            confirm, cancel = f"{key} confirm", f"{key} cancel"
            st.button(t("app.action.confirm"), key=confirm, type="primary", on_click=_decide, args=(key, act))
            st.button(t("app.action.cancel"), key=cancel, on_click=_set, args=(f"{_ASKING} {key}", False))


def show_outcome(key: str) -> None:
    """For a while: a part of the page that updates by itself would otherwise take it away before it is read."""
    name = f"{_OUTCOME} {key}"
    if (outcome := st.session_state.get(name)) is None:
        return
    kind, sentence, at = outcome
    if time.monotonic() - at > OUTCOME_SECONDS:
        del st.session_state[name]
        return
    elements.notice(kind, *sentence, key=f"{key} outcome")


def is_asking(key: str) -> bool:
    """Whether the confirmation of this action is open."""
    return bool(st.session_state.get(f"{_ASKING} {key}"))


def dismiss(key: str) -> None:
    """Closes the confirmation: what it was about is over."""
    st.session_state.pop(f"{_ASKING} {key}", None)


def has_outcome(key: str) -> bool:
    """Whether what came of this action is still to be shown."""
    return f"{_OUTCOME} {key}" in st.session_state


def explain_refusal() -> bool:
    """Once a page: why its actions cannot be used, where they cannot; whether that is so."""
    if refusal := operator().refusal:
        elements.notice("info", refusal)
    return bool(refusal)


def _set(name: str, value: object) -> None:
    st.session_state[name] = value


def _decide(key: str, act: Callable[[str], Sequence[Cell]]) -> None:
    _set(f"{_ASKING} {key}", False)
    kind, sentence = _act(act, key)
    _set(f"{_OUTCOME} {key}", (kind, sentence, time.monotonic()))


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
    """Whether the e-mail address is the viewer's: some providers let people write anybody's into their profile.

    Of those that do not send the claim, an account's id can name an operator.
    """
    return st.user.get("email_verified") in (True, "true")
