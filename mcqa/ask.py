"""`mcqa ask`: one question or a few, to a running server or in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from common.question import Answer, Debias, Question, parse_question
from mcqa import addresses, client, defaults, given, local, loop, questions, terminal
from mcqa.answered_by import real_model, remarks
from mcqa.errors import NoServer, ServerError
from mcqa.questions import Asked
from predictor.model_card import ModelCard

BATCH = 64
"""Questions a request: below the server's limit, and short enough for its deadline."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered: with the explanation where one was asked for, and how long it took in seconds."""

    answers: Sequence[Answer]
    explanations: Sequence[str]
    seconds: float
    source: str
    ids: Sequence[str] = ()
    """By which feedback may refer to the answers, where they came over REST."""
    target: addresses.Target | None = None
    """Who answered, where it was not this process."""
    card: ModelCard | None = None
    """Of the model that answered, where it is a demonstration model."""


def ask(
    question: Annotated[str | None, typer.Argument(help="The question. Without one, a random one of the bank.")] = None,
    choice: Annotated[list[str] | None, typer.Option("--choice", "-c", help="A choice; give 2 to 10.")] = None,
    code: Annotated[str | None, typer.Option(help="Code the question is about.")] = None,
    code_file: Annotated[
        Path | None, typer.Option(help="File with that code.", exists=True, dir_okay=False, readable=True)
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Questions as JSON or JSON lines; - reads stdin.")
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="A random holdout question of the bank.")] = False,
    subject: Annotated[str | None, typer.Option(help="The random question's subject.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes --random repeatable.")] = None,
    debias: Annotated[
        Literal["none", "prior", "cyclic"] | None,
        typer.Option(help="How letter bias is taken out.", show_default="the model version's own"),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Let the model explain its answer.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest explanation, in tokens.")] = 256,
    url: Annotated[
        str | None,
        typer.Option(
            help="Server to ask.", show_default=f"{addresses.QUESTIONS_VARIABLE}, or the loop of this checkout"
        ),
    ] = None,
    directory: loop.FolderOption = None,
    model: Annotated[str | None, typer.Option(help="Model version to load in this process instead.")] = None,
    protocol: Annotated[client.WireProtocol, typer.Option(help="How the server is asked.")] = "v1",
    as_json: Annotated[bool, typer.Option("--json", help="Print answers as JSON lines.")] = False,
) -> None:
    """Ask a multiple-choice question.

    Asks the server at --url, or the loop of --dir, or loads --model here. Given none of them, asks the loop of this
    checkout, or the server that `mcqa serve` started, and loads the shipped tiny model when neither runs.
    """
    if explain and protocol != "v1":
        raise typer.BadParameter("explanations are served over v1 only", param_hint="--explain")
    if (url or directory) and model:
        raise typer.BadParameter("give a server or a model, not both", param_hint="--url / --dir / --model")
    asked = _asked(question, choice or [], code, code_file, file, random, subject, seed)
    target = None if model else loop.questions(url, directory, grpc=protocol == "grpc")
    told = _tell([one.question for one in asked], target, model, protocol, debias, max_new_tokens if explain else 0)
    if as_json:
        _print_json(told)
        if told.target and told.target.chosen is not addresses.Chosen.FLAG:
            terminal.note(f"answered by {told.source}")
        return
    _print(asked, told)
    if len(told.ids) == 1 and told.target and loop.is_loops(told.target):
        where = f" --dir {local.shown(directory)}" if directory else ""
        terminal.note("what was right?", f"{local.invocation()} feedback {told.ids[0]} LETTER{where}")


def _asked(
    question: str | None,
    choices: list[str],
    code: str | None,
    code_file: Path | None,
    file: str | None,
    random: bool,
    subject: str | None,
    seed: int | None,
) -> list[Asked]:
    if sum([question is not None, file is not None, random]) > 1:
        raise typer.BadParameter("give a question, --file or --random, only one of them")
    if question is None and (choices or code or code_file):
        raise typer.BadParameter("choices and code need a question")
    if subject is not None and (question is not None or file is not None):
        raise typer.BadParameter("goes with a random question of the bank", param_hint="--subject")
    if file is not None:
        return questions.from_file(file)
    if question is None:
        return [questions.random_one(seed, subject)]
    if code is not None and code_file is not None:
        raise typer.BadParameter("give --code or --code-file, not both")
    if len(choices) < 2:
        raise typer.BadParameter(f"a question needs 2 to 10 choices, found {len(choices)}", param_hint="--choice")
    text = given.code(code_file) if code_file else code
    return [Asked(parse_question({"question": question, "choices": choices, "code": text}))]


def _tell(
    asked: Sequence[Question],
    target: addresses.Target | None,
    model: str | None,
    protocol: client.WireProtocol,
    debias: Debias | None,
    explain: int,
) -> Told:
    """`explain` is the longest explanation in tokens, 0 for none."""
    if target is not None:
        told = _tell_target(target, protocol, asked, debias, explain)
        if isinstance(told, Told):
            return told
        if protocol != "v1":
            raise NoServer(
                f"there is no server to ask over {protocol} ({told}): start one with `mcqa serve`, or give --url"
            )
        terminal.note(f"{told}: loading the shipped tiny model here")
    return _tell_local(model or local.tiny(), asked, debias, explain)


def _tell_target(
    target: addresses.Target,
    protocol: client.WireProtocol,
    asked: Sequence[Question],
    debias: Debias | None,
    explain: int,
) -> Told | str:
    """What was answered; or why there is nobody to ask, where nobody was named."""
    if target.address is None:
        return target.why
    server = client.connect(protocol, target.address)
    try:
        return _tell_remote(server, target, protocol, asked, debias, explain)
    except NoServer as error:
        if target.chosen is addresses.Chosen.DEFAULT:
            return f"no loop runs here, and no server at {server.address}"
        if target.chosen is addresses.Chosen.FLAG:
            raise
        if target.chosen is addresses.Chosen.ENVIRONMENT:
            raise NoServer(f"{error} ({target.named} names that one)") from None
        raise NoServer(f"{loop.describe(target)} gave no answer at {server.address}: see `mcqa status`") from None
    except ServerError as error:
        # Something else may listen on the default port, which has never heard of the model.
        if target.chosen is addresses.Chosen.DEFAULT and error.status == 404:
            return f"{defaults.MODEL_NAME} is not served at {server.address}"
        raise


def _tell_remote(
    server: client.Client,
    target: addresses.Target,
    protocol: str,
    asked: Sequence[Question],
    debias: Debias | None,
    explain: int,
) -> Told:
    start = time.perf_counter()
    answers: list[Answer] = []
    texts: list[str] = []
    ids: list[str] = []
    for first in range(0, len(asked), BATCH):
        batch = asked[first : first + BATCH]
        if explain and isinstance(server, client.V1Client):
            explained = server.explain(batch, debias, max_new_tokens=explain)
            answers += [client.answer_from_dict(one) for one in explained]
            texts += [str(one["explanation"]) for one in explained]
        else:
            answers += server.ask(batch, debias)
        if isinstance(server, client.RestClient):
            ids += [f"{server.last_id}/{place}" if place else server.last_id for place in range(len(batch))]
    seconds, source = time.perf_counter() - start, f"{protocol} {server.address}, {loop.describe(target)}"
    card = server.card(answers[0].model_version) if isinstance(server, client.RestClient) and answers else None
    return Told(answers, texts, seconds, source, ids, target, card)


def _tell_local(model: str, asked: Sequence[Question], debias: Debias | None, explain: int) -> Told:
    scorer = local.load(model)
    start = time.perf_counter()
    prompts = [scorer.encode(q) for q in asked]
    answers = scorer.score(prompts, debias)
    texts = []
    if explain:
        with terminal.err.status("explaining"):
            texts = [scorer.explain(p, a, max_new_tokens=explain).text for p, a in zip(prompts, answers, strict=True)]
    source = f"in process, {scorer.dtype} on {scorer.device}"
    return Told(answers, texts, time.perf_counter() - start, source, card=scorer.card)


def _print_json(told: Told) -> None:
    for i, answer in enumerate(told.answers):
        line: dict[str, Any] = answer.to_dict()
        if told.explanations:
            line["explanation"] = told.explanations[i]
        terminal.json_line(line)


def _print(asked: Sequence[Asked], told: Told) -> None:
    milliseconds = f"{told.seconds * 1000:,.0f} ms"
    note = f"{milliseconds} {told.source}"
    for i, (one, answer) in enumerate(zip(asked, told.answers, strict=True)):
        if i:
            terminal.out.rule(style="dim")
        terminal.out.print(terminal.question_view(one.question))
        terminal.out.print(
            terminal.answer_view(one.question, answer, right=one.right, note=note if len(asked) == 1 else "")
        )
        if told.explanations:
            terminal.out.print()
            terminal.out.print(told.explanations[i], markup=False)
    if len(asked) > 1:
        known = [(one.right, answer) for one, answer in zip(asked, told.answers, strict=True) if one.right is not None]
        score = f" · {sum(right == a.index for right, a in known)} of {len(known)} right" if known else ""
        terminal.out.rule(style="dim")
        terminal.out.print(f"{len(asked)} questions{score} · {note}", style="bold")
    if told.card:
        for line in remarks(told.card, [one.question for one in asked]):
            terminal.sentence(line)
        terminal.sentence(*real_model(local.invocation()))
