"""`mcqa ask`: one question or a few, to a running server or in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mcqa import client, defaults, given, local, loop, questions, terminal
from mcqa.errors import CommandError, NoServer, ServerError
from mcqa.questions import Asked
from predictor.question import Answer, Debias, Question, parse_question

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
    seed: Annotated[int | None, typer.Option(help="Makes --random repeatable.")] = None,
    debias: Annotated[
        Literal["none", "prior", "cyclic"] | None,
        typer.Option(help="How letter bias is taken out.", show_default="the model version's own"),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Let the model explain its answer.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest explanation, in tokens.")] = 256,
    url: Annotated[
        str | None, typer.Option(help="Server to ask.", show_default=f"{defaults.URL}, gRPC {defaults.GRPC_TARGET}")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model version to load in this process instead.")] = None,
    protocol: Annotated[client.WireProtocol, typer.Option(help="How the server is asked.")] = "v1",
    as_json: Annotated[bool, typer.Option("--json", help="Print answers as JSON lines.")] = False,
) -> None:
    """Ask a multiple-choice question.

    Asks the server at --url, or loads --model here. Given neither, asks the server on this machine's default port and,
    when none runs, loads the shipped tiny model.
    """
    if explain and protocol != "v1":
        raise typer.BadParameter("explanations are served over v1 only", param_hint="--explain")
    if url and model:
        raise typer.BadParameter("give a server or a model, not both", param_hint="--url / --model")
    asked = _asked(question, choice or [], code, code_file, file, random, seed)
    told = _tell([one.question for one in asked], url, model, protocol, debias, max_new_tokens if explain else 0)
    if as_json:
        _print_json(told)
    else:
        _print(asked, told)
        if len(told.ids) == 1 and loop.folder().running():
            terminal.note(f"what was right?  {local.invocation()} feedback {told.ids[0]} LETTER")


def _asked(
    question: str | None,
    choices: list[str],
    code: str | None,
    code_file: Path | None,
    file: str | None,
    random: bool,
    seed: int | None,
) -> list[Asked]:
    if sum([question is not None, file is not None, random]) > 1:
        raise typer.BadParameter("give a question, --file or --random, only one of them")
    if question is None and (choices or code or code_file):
        raise typer.BadParameter("choices and code need a question")
    if file is not None:
        return questions.from_file(file)
    if question is None:
        return [questions.random_one(seed)]
    if code is not None and code_file is not None:
        raise typer.BadParameter("give --code or --code-file, not both")
    if len(choices) < 2:
        raise typer.BadParameter(f"a question needs 2 to 10 choices, found {len(choices)}", param_hint="--choice")
    text = given.code(code_file) if code_file else code
    return [Asked(parse_question({"question": question, "choices": choices, "code": text}))]


def _tell(
    asked: Sequence[Question],
    url: str | None,
    model: str | None,
    protocol: client.WireProtocol,
    debias: Debias | None,
    explain: int,
) -> Told:
    """`explain` is the longest explanation in tokens, 0 for none."""
    if model is None:
        server = client.connect(protocol, url)
        try:
            return _tell_remote(server, protocol, asked, debias, explain)
        except NoServer as error:
            why: CommandError = error
        except ServerError as error:
            if error.status != 404:
                raise
            why = error
        if url is not None or protocol != "v1":
            raise why
        model = local.tiny()
        # Something else may listen on the default port, which has never heard of the model.
        what = "no server at" if isinstance(why, NoServer) else f"{defaults.MODEL_NAME} is not served at"
        terminal.note(f"{what} {server.address}: loading the shipped tiny model here")
    return _tell_local(model, asked, debias, explain)


def _tell_remote(
    server: client.Client, protocol: str, asked: Sequence[Question], debias: Debias | None, explain: int
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
    return Told(answers, texts, time.perf_counter() - start, f"{protocol} {server.address}", ids)


def _tell_local(model: str, asked: Sequence[Question], debias: Debias | None, explain: int) -> Told:
    scorer = local.load(model)
    start = time.perf_counter()
    prompts = [scorer.encode(q) for q in asked]
    answers = scorer.score(prompts, debias)
    texts = []
    if explain:
        with terminal.err.status("explaining"):
            texts = [scorer.explain(p, a, max_new_tokens=explain).text for p, a in zip(prompts, answers, strict=True)]
    return Told(answers, texts, time.perf_counter() - start, f"in process, {scorer.dtype} on {scorer.device}")


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
