"""`mcqa ask`: one question or a few, to a running server or in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from common.model_card import ModelCard
from common.question import Answer, Debias, Question, parse_question
from mcqa import addresses, client, defaults, input_files, local_model, loop, questions, targets, terminal
from mcqa.addresses import AddressSource, Target
from mcqa.disclaimer import disclaimers, real_model
from mcqa.errors import ServerError, ServerUnreachableError
from mcqa.explanation_view import ExplanationView
from mcqa.paths import displayed, mcqa_command
from mcqa.questions import AskedQuestion

BATCH = 64
"""Questions per request: below the server's limit, and few enough for its deadline."""


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to ask; `explain` is the longest explanation in tokens, 0 for none. `view` shows them while they are written,
    None where nobody watches.
    """

    protocol: client.WireProtocol
    debias: Debias | None
    explain: int
    view: ExplanationView | None = None


@dataclass(frozen=True, slots=True)
class AskResult:
    """The answers, with their explanations where they were asked for; `seconds` is how long it took."""

    answers: Sequence[Answer]
    explanations: Sequence[str]
    seconds: float
    answered_by: str
    ids: Sequence[str] = ()
    """What feedback on the answers refers to, where they came over REST."""
    target: Target | None = None
    """Who answered, unless it was this process."""
    card: ModelCard | None = None
    """Of the model that answered, where it is a demonstration model."""


def ask(
    question: Annotated[
        str | None, typer.Argument(help="The question. Without one, a random one from the bank.")
    ] = None,
    choice: Annotated[list[str] | None, typer.Option("--choice", "-c", help="A choice; give 2 to 10.")] = None,
    code: Annotated[str | None, typer.Option(help="Code that the question is about.")] = None,
    code_file: Annotated[
        Path | None, typer.Option(help="File with that code.", exists=True, dir_okay=False, readable=True)
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Questions as JSON or JSON lines; - reads stdin.")
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="A random holdout question from the bank.")] = False,
    subject: Annotated[str | None, typer.Option(help="The random question's subject.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes --random repeatable.")] = None,
    debias: Annotated[
        Literal["none", "prior", "cyclic"] | None,
        typer.Option(help="How letter bias is removed.", show_default="the model version's own"),
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
    protocol: Annotated[client.WireProtocol, typer.Option(help="Protocol to ask the server with.")] = "v1",
    as_json: Annotated[bool, typer.Option("--json", help="Print answers as JSON lines.")] = False,
) -> None:
    """Ask a multiple-choice question.

    Asks the server at --url or the loop of --dir, or loads --model here. Given none of them, asks the loop of this
    checkout, or the server that `mcqa serve` started, and loads the shipped tiny model when neither is running.
    """
    if explain and protocol != "v1":
        raise typer.BadParameter("explanations are served over v1 only", param_hint="--explain")
    if (url or directory) and model:
        raise typer.BadParameter("give a server or a model, not both", param_hint="--url / --dir / --model")
    asked = _questions(question, choice or [], code, code_file, file, random, subject, seed)
    target = None if model else targets.questions(url, directory, grpc=protocol == "grpc")
    view = ExplanationView(asked) if explain and not as_json and terminal.out.is_terminal else None
    options = AskOptions(protocol, debias, max_new_tokens if explain else 0, view)
    result = _ask([item.question for item in asked], target, model, options)
    if as_json:
        _print_json(result)
        if result.target and result.target.source is not AddressSource.FLAG:
            terminal.note(f"answered by {result.answered_by}")
        return
    _print(asked, result, shown=view is not None)
    if len(result.ids) == 1 and result.target and targets.takes_feedback(result.target):
        flag = f" --dir {displayed(directory)}" if directory else ""
        terminal.note("which choice was right?", f"{mcqa_command()} feedback {result.ids[0]} LETTER{flag}")


def _questions(
    question: str | None,
    choices: list[str],
    code: str | None,
    code_file: Path | None,
    file: str | None,
    random: bool,
    subject: str | None,
    seed: int | None,
) -> list[AskedQuestion]:
    if sum([question is not None, file is not None, random]) > 1:
        raise typer.BadParameter("give a question, --file or --random, only one of them")
    if question is None and (choices or code or code_file):
        raise typer.BadParameter("choices and code need a question")
    if subject is not None and (question is not None or file is not None):
        raise typer.BadParameter("is only for a random question from the bank", param_hint="--subject")
    if file is not None:
        return questions.from_file(file)
    if question is None:
        return [questions.random_question(seed, subject)]
    if code is not None and code_file is not None:
        raise typer.BadParameter("give --code or --code-file, not both")
    if len(choices) < 2:
        raise typer.BadParameter(f"a question needs 2 to 10 choices, found {len(choices)}", param_hint="--choice")
    text = input_files.read_code(code_file) if code_file else code
    return [AskedQuestion(parse_question({"question": question, "choices": choices, "code": text}))]


def _ask(asked: Sequence[Question], target: Target | None, model: str | None, options: AskOptions) -> AskResult:
    if target is not None:
        result = _ask_target(target, asked, options)
        if isinstance(result, AskResult):
            return result
        if options.protocol != "v1":
            raise ServerUnreachableError(
                f"there is no server to ask over {options.protocol} ({result}): start one with `mcqa serve`, or give "
                "--url"
            )
        terminal.note(f"{result}: loading the shipped tiny model here")
    return _ask_in_process(model or local_model.tiny_model(), asked, options)


def _ask_target(target: Target, asked: Sequence[Question], options: AskOptions) -> AskResult | str:
    """The result; or, where the user named no server, why there is none to ask."""
    if target.address is None:
        return target.reason
    server = client.connect(options.protocol, target.address)
    try:
        return _ask_server(server, target, asked, options)
    except ServerUnreachableError as error:
        if options.view and options.view.answered:
            raise  # people have read an answer of this server: no other model's in its place
        if target.source is AddressSource.DEFAULT:
            return f"no loop is running here, and no server at {server.address}"
        if target.source is AddressSource.FLAG:
            raise
        if target.source is AddressSource.ENVIRONMENT:
            raise ServerUnreachableError(f"{error} (the address is from {target.setting})") from None
        raise ServerUnreachableError(
            f"{targets.describe(target)} did not answer at {server.address}: see `mcqa status`"
        ) from None
    except ServerError as error:
        # Another program may listen on the default port, which has never heard of the model.
        if target.source is AddressSource.DEFAULT and error.status == 404:
            return f"{defaults.MODEL_NAME} is not served at {server.address}"
        raise


def _ask_server(server: client.Client, target: Target, asked: Sequence[Question], options: AskOptions) -> AskResult:
    start = time.perf_counter()
    answers: list[Answer] = []
    texts: list[str] = []
    ids: list[str] = []
    if options.view is not None and isinstance(server, client.V1Client):
        return _explain_visibly(server, target, asked, options, options.view)
    for first in range(0, len(asked), BATCH):
        batch = asked[first : first + BATCH]
        if options.explain and isinstance(server, client.V1Client):
            explained = server.explain(batch, options.debias, max_new_tokens=options.explain)
            answers += [client.answer_from_dict(item) for item in explained]
            texts += [str(item["explanation"]) for item in explained]
        else:
            answers += server.ask(batch, options.debias)
        if isinstance(server, client.RestClient):
            ids += [f"{server.last_id}/{place}" if place else server.last_id for place in range(len(batch))]
    seconds = time.perf_counter() - start
    answered_by = _server_name(server, target, options)
    card = server.card(answers[0].model_version) if isinstance(server, client.RestClient) and answers else None
    return AskResult(answers, texts, seconds, answered_by, ids, target, card)


def _explain_visibly(
    server: client.V1Client, target: Target, asked: Sequence[Question], options: AskOptions, view: ExplanationView
) -> AskResult:
    """Each question counts when it is answered; its explanation is asked as a test, since streams do not count."""
    answered_by = _server_name(server, target, options)
    start = time.perf_counter()
    answers: list[Answer] = []
    ids: list[str] = []
    for question in asked:
        (answer,) = server.ask([question], options.debias)
        answers.append(answer)
        ids.append(server.last_id)
        view.answer(answer, _note(time.perf_counter() - start, answered_by))
        parts = server.as_test().explain_stream(question, options.debias, max_new_tokens=options.explain)
        try:
            for part in parts:
                match part:
                    case Answer() if part.model_version != answer.model_version:
                        view.other_version(part)
                    case str():
                        view.text(part)
        finally:
            parts.close()  # on Ctrl-C, the server writes no further
            view.end()
    card = server.card(answers[0].model_version)
    return AskResult(answers, (), time.perf_counter() - start, answered_by, ids, target, card)


def _server_name(server: client.Client, target: Target, options: AskOptions) -> str:
    return f"{options.protocol} {server.address}, {targets.describe(target)}"


def _note(seconds: float, answered_by: str) -> str:
    return f"{seconds * 1000:,.0f} ms {answered_by}"


def _ask_in_process(model: str, asked: Sequence[Question], options: AskOptions) -> AskResult:
    scorer = local_model.load(model)
    start = time.perf_counter()
    prompts = [scorer.encode(question) for question in asked]
    answers = scorer.score(prompts, options.debias)
    texts: list[str] = []
    answered_by = f"in process, {scorer.dtype} on {scorer.device}"
    if options.view:
        for prompt, answer in zip(prompts, answers, strict=True):
            options.view.answer(answer, _note(time.perf_counter() - start, answered_by))
            scorer.explain(prompt, answer, max_new_tokens=options.explain, on_text=options.view.text)
            options.view.end()
    elif options.explain:
        with terminal.err.status("explaining"):
            texts = [
                scorer.explain(prompt, answer, max_new_tokens=options.explain).text
                for prompt, answer in zip(prompts, answers, strict=True)
            ]
    return AskResult(answers, texts, time.perf_counter() - start, answered_by, card=scorer.card)


def _print_json(result: AskResult) -> None:
    for i, answer in enumerate(result.answers):
        line: dict[str, Any] = answer.to_dict()
        if result.explanations:
            line["explanation"] = result.explanations[i]
        terminal.json_line(line)


def _print(asked: Sequence[AskedQuestion], result: AskResult, *, shown: bool) -> None:
    """The answers, unless they were `shown` while they came, and what concerns all of them."""
    out = terminal.out
    note = _note(result.seconds, result.answered_by)
    for i, (item, answer) in enumerate(() if shown else zip(asked, result.answers, strict=True)):
        if i:
            out.rule(style="dim")
        out.print(terminal.question_view(item.question))
        figures = note if len(asked) == 1 else ""
        out.print(terminal.answer_view(item.question, answer, correct_index=item.correct_index, note=figures))
        if result.explanations:
            out.print()
            out.print(terminal.without_control_characters(result.explanations[i]), markup=False)
    if len(asked) > 1:
        out.rule(style="dim")
        out.print(f"{len(asked)} questions{_score(asked, result.answers)} · {note}", style="bold")
    if result.card:
        for line in disclaimers(result.card, [item.question for item in asked]):
            terminal.sentence(line)
        terminal.sentence(*real_model(mcqa_command()))


def _score(asked: Sequence[AskedQuestion], answers: Sequence[Answer]) -> str:
    """How many of the questions whose right choice is known were answered right; empty where none is known."""
    known = [
        item.correct_index == answer.index
        for item, answer in zip(asked, answers, strict=True)
        if item.correct_index is not None
    ]
    return f" · {sum(known)} of {len(known)} right" if known else ""
