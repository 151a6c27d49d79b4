"""`mcqa evaluate`: accuracy, calibration and bias of a model version, in this process or behind a URL."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from common.question import Answer, Debias, Question, QuestionError
from mcqa import addresses, client, local_model, loop, questions, targets, terminal
from mcqa.errors import CommandError, ServerError
from pipelines.evaluation.report import EvaluatedModel, EvaluationError, QuestionSource, Report

if TYPE_CHECKING:
    from pipelines.bank import LabelledQuestion

BATCH_REMOTE = 16
"""Small enough for a real-size model on two cores to answer well within the server's deadline."""
BUSY_TRIES = 20


class ServerAnswerer:
    """A running server as an Answerer of pipelines.evaluation: waits while it is busy, reports what it refuses."""

    default_debias = "server's own"

    def __init__(self, server: client.Client) -> None:
        self.server = server
        self.model = EvaluatedModel("unknown", server.address)

    def answer(self, asked: Sequence[Question], debias: Debias | None) -> list[Answer]:
        for _ in range(BUSY_TRIES):
            try:
                return self.server.ask(asked, debias)
            except ServerError as error:
                if error.status in (400, 413, 422):
                    raise QuestionError("question", str(error)) from None
                if error.status != 503:
                    raise
                busy = error
                time.sleep(error.retry_after if error.retry_after is not None else 1.0)
        raise CommandError(f"the server stayed busy through {BUSY_TRIES} tries: {busy}")


def evaluate(
    model: Annotated[
        str | None, typer.Option(help="Model version to load here.", show_default="the shipped tiny model")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Running server to ask instead, over v1.", show_default="MCQA_URL, where set"),
    ] = None,
    directory: loop.FolderOption = None,
    bank: Annotated[str, typer.Option(help=f"Questions: {questions.BANKS}.")] = "generated",
    split: Annotated[
        questions.SplitName | None,
        typer.Option(help="Part of the bank.", show_default="holdout of generated, all of any other"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask at most this many, drawn by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the generated bank and of every draw.")] = 0,
    subject: Annotated[list[str] | None, typer.Option("--subject", "-s", help="Only this subject; repeatable.")] = None,
    debias: Annotated[
        Literal["none", "prior", "cyclic"] | None,
        typer.Option(help="How letter bias is removed.", show_default="the model version's own"),
    ] = None,
    rotations: Annotated[
        int, typer.Option(min=0, help="Also ask this many questions in every rotation of their choices.")
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON.", dir_okay=False)] = None,
    records: Annotated[Path | None, typer.Option(help="Write one JSON line per question.", dir_okay=False)] = None,
    diagram: Annotated[Path | None, typer.Option(help="Draw the reliability diagram as PNG.", dir_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of tables.")] = False,
) -> None:
    """Measure a model version on labelled questions.

    A running loop is measured only where --url, --dir or MCQA_URL names it.

    Reports accuracy by subject with 95% Wilson intervals, Brier score, NLL, calibration error, letter bias and speed.
    """
    if (url or directory) and model:
        raise typer.BadParameter("give a server or a model, not both", param_hint="--url / --dir / --model")
    if url or directory or (not model and os.environ.get(addresses.QUESTIONS_VARIABLE)):
        target = targets.questions(url, directory)
        url = str(target.address)
        terminal.note(f"measuring {url}, {targets.describe(target)}")
    split = split or ("holdout" if bank == "generated" else "all")
    labelled = questions.load_bank(bank, split=split, subjects=subject or (), limit=limit, seed=seed)
    asked = QuestionSource(bank, split, seed, tuple(subject or ()), limit)
    report = _report(labelled, asked, model, url, debias, rotations)
    _save(report, out, records, diagram)
    if as_json:
        terminal.json_line(report.to_dict())
    else:
        from pipelines.evaluation import report_table

        terminal.out.print(report_table.render(report))


def _report(
    labelled: Sequence[LabelledQuestion],
    asked: QuestionSource,
    model: str | None,
    url: str | None,
    debias: Debias | None,
    rotations: int,
) -> Report:
    from pipelines.evaluation import runner

    answerer: runner.Answerer
    if url:
        answerer, batch = ServerAnswerer(client.connect("v1", url, purpose="test")), BATCH_REMOTE
    else:
        source = model or local_model.tiny_model()
        answerer, batch = runner.InProcessAnswerer(local_model.load(source), source), runner.BATCH
    try:
        with terminal.phases() as progress:
            return runner.evaluate(
                answerer, labelled, asked, debias=debias, rotations=rotations, batch=batch, progress=progress
            )
    except EvaluationError as error:
        raise CommandError(str(error)) from None


def _save(report: Report, out: Path | None, records: Path | None, diagram: Path | None) -> None:
    from pipelines.evaluation.answer_records import write_records

    def write_report(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def write_diagram(path: Path) -> None:
        from pipelines.evaluation.reliability_diagram import draw

        draw(report, path)

    outputs = ((out, write_report), (records, partial(write_records, report.records)), (diagram, write_diagram))
    for path, write in outputs:
        if path is None:
            continue
        try:
            write(path)
        except OSError as error:
            # A write to an open file, as on a full disk, does not name it.
            raise CommandError(f"cannot write {error.filename or path}: {error.strerror}") from None
        terminal.note(f"wrote {path}")
