"""The registry as a table, a page of versions at a time."""

from __future__ import annotations

from mcqa.readmodels.versions import RegistryFacts, VersionLine
from ui import elements
from ui.elements import Badge, Cell, Link, Time
from ui.language import has, t

# texts: versions.column.*
# texts: versions.alias.*
# texts: versions.gate.*
# texts: versions.rollout.*
GATE = {"pass": "good", "fail": "bad", "inconclusive": "warn"}
ROLLOUT = {"promoted": "good", "passed": "info", "rolled-back": "bad"}


def show(registry: RegistryFacts, before: int | None) -> None:
    columns = [t(f"versions.column.{name}") for name in ("version", "alias", "gate", "rollout", "origin", "registered")]
    rows = [_row(line) for line in registry["versions"]]
    caption = t("versions.registry", model=registry["model"])
    empty = t("versions.none", model=registry["model"])
    elements.table(caption, columns, rows, empty=empty, stack=True, key="versions registry")
    links: list[Cell] = []
    if before is not None:
        links += [Link(t("versions.newest"), "/versions"), "   "]
    if registry["older"] is not None:
        links.append(Link(t("versions.older"), f"/versions?before={registry['older']}"))
    if links:
        elements.paragraph(*links, key="versions paging")


def origin(line: VersionLine) -> Cell:
    if line["champion"]:
        return [t("versions.from_version"), " ", version_link(line["champion"])]
    return t("versions.from_start") if line["origin"] == "bootstrap" else t("versions.from_elsewhere")


def alias(name: str) -> Badge:
    kind = {"champion": "good", "challenger": "wait"}.get(name, "info")
    known = f"versions.alias.{name}"
    return Badge(kind, t(known) if has(known) else name)  # type: ignore[arg-type]


def gate(verdict: str) -> Badge:
    return Badge(GATE.get(verdict, "info"), t(f"versions.gate.{verdict}"))  # type: ignore[arg-type]


def rollout(line: VersionLine) -> Cell:
    ended = line["rollout"]
    if ended is None:
        return "—"
    kind = ROLLOUT.get(ended["outcome"], "info")
    return Badge(kind, t(f"versions.rollout.{ended['outcome']}"))  # type: ignore[arg-type]


def version_link(number: str) -> Cell:
    return Link(number, f"/versions?version={number}") if number.isdigit() else number


def _row(line: VersionLine) -> list[Cell]:
    return [
        version_link(line["version"]),
        [part for name in line["aliases"] for part in (alias(name), " ")] or "—",
        gate(line["gate"]) if line["gate"] else "—",
        rollout(line),
        origin(line),
        Time(line["created"], "date"),
    ]
