"""`mcqa versions`: the registry's versions, one of them with its lineage and figures, and two compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, TypedDict

import typer
from rich.table import Table
from rich.text import Text

from common.errors import SettingError, UnavailableError
from common.question import LETTERS
from mcqa import targets, terminal
from mcqa.errors import CommandError, unavailable_as_command_error
from mcqa.loop import FolderOption
from mcqa.readmodels import comparison, evaluations
from mcqa.readmodels import versions as registry
from mcqa.readmodels.comparison import ComparisonFacts, Item
from mcqa.readmodels.evaluations import EvaluationFacts, Measured, Share
from mcqa.readmodels.versions import Cause, Files, Record, RegistryFacts, VersionFacts, VersionLine

STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}
_OUTCOMES = {
    "only-version": "only {version} right",
    "only-against": "only {against} right",
    "both-wrong": "both wrong",
    "both-right": "both right",
    "different": "not labelled, answered differently",
    "same": "not labelled, answered alike",
}


def versions(
    version: Annotated[str | None, typer.Argument(help="Show this one.", show_default="list them")] = None,
    against: Annotated[str | None, typer.Option(help="Compare with this one, question by question.")] = None,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many versions or questions to show.")] = 25,
    before: Annotated[int | None, typer.Option(min=1, help="List versions below this number.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    directory: FolderOption = None,
) -> None:
    """Show the registry's versions: where each comes from, how good it is, and what two of them answered."""
    if against is not None and version is None:
        raise typer.BadParameter(
            "give the version to compare, too: mcqa versions 3 --against 2", param_hint="--against"
        )
    environ = targets.environ(directory)
    if version is None:
        with unavailable_as_command_error(ValueError):
            listed = registry.listing(environ, before, last)
        _show(as_json, directory, listed, lambda: _print_list(listed))
        return
    with unavailable_as_command_error(ValueError):
        for number in filter(None, (version, against)):
            found = registry.one(environ, number)
            if found is None:
                raise CommandError(f"the registry has no version {number}: `mcqa versions` lists them")
        if against is not None:
            compared = comparison.read(environ, version, against)
            compared["items"] = compared["items"][:last]
            _show(as_json, directory, compared, lambda: _print_comparison(compared))
            return
    assert found is not None
    parts = _parts(environ, found)
    _show(as_json, directory, {**found, **parts}, lambda: _print_one(found, parts))


def _show(as_json: bool, directory: Any, facts: Mapping[str, Any], printer: Callable[[], None]) -> None:
    if as_json:
        terminal.json_line(facts, indent=2)
        return
    targets.announce(directory)
    printer()


class Parts(TypedDict):
    """What other places say of a version; in `unavailable`, by part, the error of a place that does not answer."""

    record: Record | None
    cause: Cause | None
    evaluation: EvaluationFacts | None
    files: Files | None
    unavailable: dict[str, str]


def _parts(environ: Mapping[str, str], found: VersionFacts) -> Parts:
    version, key = found["version"], found["run_key"] or ""
    parts: Parts = {"record": None, "cause": None, "evaluation": None, "files": None, "unavailable": {}}
    with _noted(parts, "record"):
        parts["record"] = registry.record(environ, key)
    with _noted(parts, "cause"):
        parts["cause"] = registry.cause(environ, key)
    with _noted(parts, "evaluation"):
        parts["evaluation"] = evaluations.read(environ, version)
    with _noted(parts, "files"):
        parts["files"] = registry.files(environ, version)
    return parts


@contextmanager
def _noted(parts: Parts, part: str) -> Iterator[None]:
    try:
        yield
    except (SettingError, UnavailableError) as error:
        parts["unavailable"][part] = str(error)


def _print_list(facts: RegistryFacts) -> None:
    if not facts["versions"]:
        terminal.note(f"the registry has no version of {facts['model']} here")
        return
    table = terminal.plain_table()
    for title in ("version", "aliases", "registered", "from", "gate"):
        table.add_column(title, no_wrap=True)
    table.add_column("canary", overflow="fold")
    for line in facts["versions"]:
        gate = line["gate"]
        table.add_row(
            line["version"],
            Text(", ".join(line["aliases"])),
            _when(line["created"]),
            Text(_origin(line)),
            Text(gate or "", style=STYLES.get(gate or "", "")),
            Text(_canary(line)),
        )
    terminal.out.print(table)
    if facts["older"] is not None:
        terminal.note("older ones:", f"mcqa versions --before {facts['older']}")


def _print_one(facts: VersionFacts, parts: Parts) -> None:
    out = terminal.out
    table = terminal.plain_table(show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "version": f"{facts['version']} of {facts['model']}",
        "aliases": ", ".join(facts["aliases"]) or "none",
        "registered": _when(facts["created"]),
        "from": _origin(facts),
        "why": facts["reason"],
        "cause": _cause(parts),
        "pipeline run": " ".join(filter(None, (facts["pipeline_run"], facts["pipeline_page"]))),
        "data": _data(facts, parts["record"]),
        "signature": facts["signature"] or "none: versions are not signed",
        "canary": _canary(facts) or "none yet",
        "not offered": facts["not_offered"] or "",
        "MLflow": facts["page"],
        **_files(parts),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
    out.print(table)
    out.print()
    _print_gate(facts, parts)
    out.print()
    _print_evaluation(parts)


def _print_gate(facts: VersionFacts, parts: Parts) -> None:
    gate = facts["gate"]
    if gate is None:
        terminal.out.print("gate: none, it was not examined")
        return
    terminal.out.print(f"gate: [{STYLES[gate]}]{gate}[/]")
    checks = parts["record"]["checks"] if parts["record"] else None
    if checks is None:
        terminal.out.print(Text(parts["unavailable"].get("record", facts["gate_reason"])))
        return
    table = terminal.plain_table()
    for title in ("check", "verdict"):
        table.add_column(title, no_wrap=True)
    table.add_column("why", overflow="fold")
    for check in checks:
        verdict = Text(check["verdict"], style=STYLES.get(check["verdict"], ""))
        table.add_row(Text(check["name"]), verdict, Text(check["reason"]))
    terminal.out.print(table)


def _print_evaluation(parts: Parts) -> None:
    facts = parts["evaluation"]
    if facts is None:
        missing = parts["unavailable"].get("evaluation", "no evaluation of this version is stored")
        terminal.out.print(Text(f"accuracy: {missing}"))
        return
    where = {
        "challenger": f"as challenger of version {facts['against']}",
        "champion": "as champion of a later retraining",
        "folder": "by its maker",
    }[facts["source"]]
    for mix in facts["mixes"]:
        terminal.out.print(Text(f"accuracy: {_share(mix['accuracy'])}, {mix['mix']} mix, measured {where}"))
        terminal.out.print(_subjects(mix))
        terminal.out.print(_calibration(mix))


def _subjects(mix: Measured) -> Table:
    table = terminal.plain_table()
    table.add_column("subject", style="cyan", no_wrap=True)
    for title in ("questions", "accuracy", "95% interval"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, share in sorted(mix["subjects"].items(), key=lambda item: -item[1]["value"]):
        interval = f"{share['low']:.1%} - {share['high']:.1%}"
        table.add_row(Text(name or "(none)"), str(share["total"]), f"{share['value']:.1%}", interval)
    return table


def _calibration(mix: Measured) -> Table:
    """With what it would be without the letter prior, where the version has one."""
    before = mix["before"]
    table = terminal.plain_table()
    table.add_column("calibration", style="cyan", no_wrap=True)
    for title in ["without its letter prior", "with it"] if before else ["value"]:
        table.add_column(title, justify="right")
    for name, title in (("brier", "Brier"), ("nll", "NLL"), ("ece", "ECE"), ("rstd", "letter bias (RStd)")):
        values = [side[name] for side in (before, mix) if side is not None]  # type: ignore[literal-required]
        table.add_row(title, *("-" if value is None else f"{value:.3f}" for value in values))
    return table


def _print_comparison(facts: ComparisonFacts) -> None:
    out = terminal.out
    names = {"version": f"version {facts['version']}", "against": f"version {facts['against']}"}
    if facts["source"] == "none":
        missing = "they share no question"
        if facts["without"]:
            missing = f"no single answers are stored of version {' and '.join(facts['without'])}"
        out.print(Text(f"nothing to compare versions {facts['version']} and {facts['against']} by: {missing}"))
        if facts["problem"]:
            terminal.note(facts["problem"])
        return
    where = {
        "evaluation": "in one evaluation",
        "evaluations": "in two evaluations that share them",
        "answers": "in live traffic",
    }[facts["source"]]
    out.print(Text(f"{facts['questions']} questions that both answered, {where}"))
    if (difference := facts["difference"]) is not None:
        points, low, high = (f"{100 * difference[name]:+.1f}" for name in ("value", "low", "high"))
        out.print(Text(f"{names['version']} is {points} points ({low} to {high}) from {names['against']}"))
    table = terminal.plain_table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for code, count in facts["outcomes"].items():
        if count:
            table.add_row(Text(_OUTCOMES[code].format(**names)), str(count))
    out.print(table)
    out.print()
    for item in facts["items"]:
        _print_item(item, facts)
    if (rest := facts["questions"] - len(facts["items"])) > 0:
        terminal.note(f"{rest} more; --last shows more, --json everything that is shown")


def _print_item(item: Item, facts: ComparisonFacts) -> None:
    out = terminal.out
    out.print(Text(f"{item['subject'] or '(no subject)'}  {item['id']}", style="cyan"))
    out.print(Text(item["question"], style="bold"))
    if item["code"]:
        out.print(Text(item["code"]))
    for place, choice in enumerate(item["choices"]):
        who = [facts[side] for side in ("version", "against") if item[side]["choice"] == place]
        sign = "✓" if place == item["right"] else " "
        said = f"  ← {', '.join(who)}" if who else ""
        out.print(Text(f"{sign} {LETTERS[place]} {choice}{said}"))
    out.print()


def _origin(line: VersionLine) -> str:
    if line["champion"]:
        return f"version {line['champion']}"
    return line["reason"] if line["origin"] == "bootstrap" else "elsewhere"


def _canary(line: VersionLine) -> str:
    if (rollout := line["rollout"]) is None:
        return ""
    over = f" over {rollout['champion']}" if rollout["champion"] else ""
    text = f": {rollout['text']}" if rollout["text"] else ""
    return f"{rollout['outcome'].replace('-', ' ')}{over}{text}"


def _cause(parts: Parts) -> str:
    cause = parts["cause"]
    if cause is None:
        return parts["unavailable"].get("cause", "")
    if (alarm := cause["alarm"]) is not None:
        return f"drift check {alarm['sequence']} of {_when(alarm['checked_at'])}, {alarm['n']} answers"
    return f"requested at {_when(cause['requested_at'])} by {cause['initiated_by']}"


def _data(facts: VersionFacts, record: Record | None) -> str:
    counts = record["data"] if record else {}
    shown = [f"{counts[name]} {name.replace('_', ' ')}" for name in ("train_new", "train_old") if name in counts]
    return ", ".join([*shown, *([f"digest {facts['data_digest'][:16]}…"] if facts["data_digest"] else [])])


def _files(parts: Parts) -> dict[str, str]:
    files = parts["files"]
    if files is None:
        return {"card": parts["unavailable"].get("files", "")}
    card, prior = files["card"], files["prior"]
    return {
        "card": f"{card['title']}; subjects: {', '.join(card['subjects'])}" if card else "none",
        "letter prior": "; ".join(
            " ".join(f"{LETTERS[place]} {p:.2f}" for place, p in enumerate(values))
            for values in prior["priors"].values()
        )
        if prior
        else "none",
    }


def _share(share: Share) -> str:
    return f"{share['value']:.1%} [{share['low']:.1%}, {share['high']:.1%}] of {share['total']}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
