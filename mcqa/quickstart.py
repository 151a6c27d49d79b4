"""`mcqa quickstart`: one server, one question, three protocols, and what to type next."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Annotated

import typer

from common.question import LETTERS, Answer, Question
from mcqa import client, defaults, local_model, loop, questions, server_process, terminal
from mcqa.disclaimer import disclaimers
from mcqa.errors import CommandError
from mcqa.paths import mcqa_command

PROTOCOLS: tuple[tuple[client.WireProtocol, str], ...] = (("v1", "v1 REST"), ("v2", "v2 REST"), ("grpc", "v2 gRPC"))
_OR_FREE = tuple(f"{port}, or a free one" for port in (defaults.HTTP_PORT, defaults.GRPC_PORT))
TOLERANCE = 1e-3
"""Probabilities may differ by this much between protocols: v2 tensors carry float32."""


def quickstart(
    model: Annotated[
        str | None, typer.Option(help="Model version to serve.", show_default="the shipped tiny model")
    ] = None,
    port: Annotated[int | None, typer.Option(help="REST port, 0 for any free one.", show_default=_OR_FREE[0])] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="gRPC port, 0 for any free one.", show_default=_OR_FREE[1])
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the question repeatable.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop after the answers; do not keep serving.")] = False,
) -> None:
    """Start a server and ask it one question over v1, v2 REST and v2 gRPC.

    It then keeps serving until Ctrl-C.
    """
    port = server_process.claim_port(port, "--port", defaults.HTTP_PORT)
    grpc_port = server_process.claim_port(grpc_port, "--grpc-port", defaults.GRPC_PORT)
    source = model or local_model.tiny_model()
    url, target = f"http://{defaults.HOST}:{port}", f"{defaults.HOST}:{grpc_port}"
    start = time.monotonic()
    with terminal.err.status("starting the model server") as status:

        def show_seconds(seconds: float) -> None:
            status.update(f"starting the model server ({seconds:.0f} s)")

        with server_process.running(source, port, grpc_port, on_wait=show_seconds) as process:
            status.stop()
            terminal.out.print(
                f"[green]✓[/] [bold]{defaults.MODEL_NAME}[/] is ready after {time.monotonic() - start:.1f} s\n"
                f"  REST  {url}\n  gRPC  {target}\n"
            )
            _ask_over_each_protocol(questions.random_question(seed), url, target)
            _next_steps(url, once)
            if not once:
                _serve_on(process)


def _ask_over_each_protocol(asked: questions.AskedQuestion, url: str, target: str) -> None:
    question = asked.question
    answers: dict[str, Answer] = {}
    table = terminal.plain_table(gap=3)
    for title in ("protocol", "answer", *question.letters, "time"):
        table.add_column(title, justify="left" if title in ("protocol", "answer") else "right")
    for protocol, name in PROTOCOLS:
        server = client.connect(protocol, target if protocol == "grpc" else url, purpose="test")
        start = time.perf_counter()
        answers[name] = answer = server.ask([question])[0]
        milliseconds = f"{(time.perf_counter() - start) * 1000:.0f} ms"
        table.add_row(name, f"[bold]{answer.letter}[/]", *(f"{p:.1%}" for p in answer.probabilities), milliseconds)
    first = answers[PROTOCOLS[0][1]]
    terminal.out.print(terminal.question_view(question))
    terminal.out.print(terminal.answer_view(question, first, correct_index=asked.correct_index))
    if card := client.V1Client(url).card(first.model_version):
        terminal.sentence(disclaimers(card, [question])[0])
    terminal.out.print()
    terminal.out.print(table)
    if disagreement := find_disagreement(answers):
        raise CommandError(disagreement)
    terminal.out.print("[green]✓[/] the three protocols agree\n")


def find_disagreement(answers: dict[str, Answer]) -> str | None:
    """Says which protocol's answer differs from the first one's; None where all agree."""
    (first_name, first), *others = answers.items()
    for name, answer in others:
        if answer.letter != first.letter:
            return f"{name} answers {answer.letter} where {first_name} answers {first.letter}"
        for letter, a, b in zip(LETTERS, first.probabilities, answer.probabilities, strict=False):
            if abs(a - b) > TOLERANCE:
                return f"{name} gives {letter} {b:.4f} where {first_name} gives {a:.4f}"
    return None


EXAMPLE = Question("What does len([1, 2, 3]) return?", ("2", "3", "4", "an error"))


def _next_steps(url: str, once: bool) -> None:
    mcqa = mcqa_command()
    body = json.dumps({"instances": [client.question_to_dict(EXAMPLE)]})
    # Without an address `mcqa ask` asks this checkout's loop first.
    flag = "" if url == defaults.URL and not loop.folder().running() else f" --url {url}"
    choices = " ".join(f'-c "{text}"' for text in EXAMPLE.choices)
    lines = [
        ("start it again", f"{mcqa} serve")
        if once
        else (
            "in another terminal",
            f"curl -s {url}/v1/models/{defaults.MODEL_NAME}:predict -H 'content-type: application/json' -d '{body}'",
        ),
        ("ask your own", f'{mcqa} ask{"" if once else flag} "{EXAMPLE.stem}" {choices}'),
        ("measure it", f"{mcqa} evaluate --limit 500 --diagram reliability.png"),
        ("the real model", f"{mcqa} serve --model {defaults.REAL_MODEL}"),
    ]
    terminal.out.print("[bold]Next[/]")
    for label, line in lines:
        terminal.out.print(f"  [dim]{label}[/]")
        terminal.out.print(f"    {line}", style="cyan", soft_wrap=True, markup=False)


def _serve_on(process: subprocess.Popen[bytes]) -> None:
    terminal.out.print("\nserving; Ctrl-C stops it", style="dim")
    try:
        code = process.wait()
    except KeyboardInterrupt:
        terminal.note("stopping: accepted work is finished first")
        return
    raise CommandError(f"the server exited with code {code}")
