"""Versions: the registry, one version with its lineage and how good it is, and two compared question by question."""

from __future__ import annotations

import os

import streamlit as st

from mcqa.readmodels import comparison as compared
from mcqa.readmodels import evaluations, versions
from mcqa.readmodels.versions import RegistryFacts, VersionFacts
from ui import elements, facts, query
from ui.language import t
from ui.live import live
from ui.versions import comparison, lineage, listing, measured

SECONDS = 20.0
"""The registry changes with a retraining or a canary's end: that soon is soon enough, and costs MLflow little."""
FOREVER = 300.0
"""What no longer changes is read again only now and then."""
CHOICE, OTHER = "versions choice", "versions other"


def render() -> None:
    st.title(t("app.page.versions"))
    numbers = [query.number(name) for name in ("version", "against", "before")]
    query.explain(*numbers)
    before = _number("before")
    _registry(before)
    if numbers[0].is_strange:  # another version is not what was asked for; the list above links to each
        return
    known = facts.read(_listing, before, seconds=SECONDS)
    if not known.value or not (known.value["versions"] or _number("version")):
        return
    chosen = _choice(known.value)
    found = facts.read(_one, chosen, seconds=SECONDS)
    one = facts.shown(found, t("versions.part.version"))
    if one is None:
        if found.ok:
            elements.notice("warning", t("versions.no_such", version=chosen))
        return
    _version(chosen, one["run_key"] or "")
    _compared(known.value, one)


@live(SECONDS)
def _registry(before: int | None) -> None:
    registry = facts.read(_listing, before, seconds=SECONDS)
    if (value := facts.shown(registry, t("versions.part.registry"))) is not None:
        listing.show(value, before)


def _choice(registry: RegistryFacts) -> str:
    """The number of the version to show: the address's, else the champion's, else the newest."""
    numbers = [line["version"] for line in registry["versions"]]
    asked = _number("version")
    default = str(asked) if asked else registry["aliases"].get("champion") or numbers[0]
    options = sorted({*numbers, *registry["aliases"].values(), default}, key=int, reverse=True)
    if st.session_state.get(CHOICE) not in options:
        st.session_state[CHOICE] = default
    st.selectbox(t("versions.choose"), options, key=CHOICE, on_change=_chosen)
    return str(st.session_state[CHOICE])


def _chosen() -> None:
    st.query_params["version"] = st.session_state[CHOICE]
    st.query_params.pop("against", None)
    st.session_state.pop(OTHER, None)


def _version(number: str, key: str) -> None:
    elements.heading(2, t("versions.one", version=number), key=f"version heading {number}")
    _lineage(number, key)
    record = facts.read(_record, key, seconds=FOREVER) if key else None
    lineage.gate(facts.read(_one, number, seconds=SECONDS).value, record)
    evaluation = facts.read(_evaluation, number, seconds=FOREVER)
    if evaluation.ok and evaluation.value is None:
        st.subheader(t("versions.accuracy"))
        elements.notice("info", t("versions.not_measured"))
    elif (value := facts.shown(evaluation, t("versions.part.evaluation"))) is not None:
        measured.show(value, number)
    files = facts.shown(facts.read(_files, number, seconds=FOREVER), t("versions.part.files"))
    if files is not None:
        lineage.prior(files)
        lineage.card(files)
    if record is not None and (recorded := facts.shown(record, t("versions.part.record"))) is not None:
        lineage.steps(recorded)


@live(SECONDS)
def _lineage(number: str, key: str) -> None:
    one = facts.shown(facts.read(_one, number, seconds=SECONDS), t("versions.part.version"))
    cause = facts.read(_cause, key, seconds=SECONDS) if key else None
    record = facts.read(_record, key, seconds=FOREVER).value if key else None
    if one is not None:
        lineage.summary(one, cause, record)


def _compared(registry: RegistryFacts, one: VersionFacts) -> None:
    st.header(t("versions.compare.title"))
    mine = one["version"]
    others = {*(line["version"] for line in registry["versions"]), *registry["aliases"].values()}
    asked = _number("against")
    others |= {str(asked)} if asked else set()
    options = sorted(others - {mine}, key=int, reverse=True)
    if not options:
        elements.paragraph(t("versions.compare.alone"))
        return
    if st.session_state.get(OTHER) not in options:
        named = str(asked) if asked else None
        st.session_state[OTHER] = named if named in options else None
    st.selectbox(t("versions.compare.with"), options, key=OTHER, placeholder=t("versions.compare.none"),
                 on_change=_other_chosen)  # fmt: skip
    if (other := st.session_state[OTHER]) is None:
        return
    if facts.read(_one, other, seconds=SECONDS).value is None:
        elements.notice("warning", t("versions.no_such", version=other))
        return
    value = facts.shown(facts.read(_comparison, mine, other, seconds=FOREVER), t("versions.part.comparison"))
    if value is not None:
        comparison.show(value)


def _other_chosen() -> None:
    if (other := st.session_state[OTHER]) is None:
        st.query_params.pop("against", None)
        return
    st.query_params["version"], st.query_params["against"] = st.session_state[CHOICE], other


def _number(name: str) -> int | None:
    return query.number(name).value


def _listing(before: int | None) -> RegistryFacts:
    return versions.listing(os.environ, before)


def _one(number: str) -> VersionFacts | None:
    return versions.one(os.environ, number)


def _record(key: str) -> versions.Record:
    return versions.record(os.environ, key)


def _cause(key: str) -> versions.Cause | None:
    return versions.cause(os.environ, key)


def _files(number: str) -> versions.Files:
    return versions.files(os.environ, number)


def _evaluation(number: str) -> evaluations.EvaluationFacts | None:
    return evaluations.read(os.environ, number)


def _comparison(version: str, against: str) -> compared.ComparisonFacts:
    return compared.read(os.environ, version, against)
