from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ask_model import model_server
from command_process import environment, on_terminal
from typer.testing import CliRunner, Result

from common.question import LETTERS, Answer, Question
from mcqa import defaults, targets, terminal
from mcqa.addresses import AddressSource, Target
from mcqa.explanation_view import ExplanationView
from mcqa.questions import AskedQuestion
from mcqa.verbs import app

pytestmark = pytest.mark.usefixtures("processes")

QUESTION = ("What does len([1, 2, 3]) return?", "-c", "2", "-c", "[3]", "-c", "an error")


def ask(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["ask", *words], input=stdin, env={"COLUMNS": "120"})


def test_a_running_server_answers(server: Any) -> None:
    result = ask(*QUESTION, "--url", server.url)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == QUESTION[0]
    assert sum(line.startswith("▶") for line in lines) == 1
    assert "[3]" in result.stdout  # choices are no markup
    (figures,) = [line for line in lines if "letter mass" in line]
    assert f"{server.url}, --url" in figures


@pytest.mark.parametrize("protocol", ["v1", "v2", "grpc"])
def test_json_is_one_answer(server: Any, protocol: str) -> None:
    url = server.grpc if protocol == "grpc" else server.url
    result = ask(*QUESTION, "--json", "--protocol", protocol, "--url", url, "--debias", "cyclic", "--code", "x = 1")
    answer = json.loads(result.stdout)
    assert set(answer["probabilities"]) == {"A", "B", "C"}
    assert answer["choice"] == ("2", "[3]", "an error")[LETTERS.index(answer["letter"])]


def test_without_a_server_the_tiny_model_is_loaded_and_that_is_said(server: Any) -> None:
    result = ask(*QUESTION, "--json")
    assert result.exit_code == 0, result.stderr
    folder = os.environ["MCQA_LOCAL_DIR"]
    assert f"the loop in {folder} is not running: loading the shipped tiny model here" in result.stderr
    here = json.loads(result.stdout)
    there = json.loads(ask(*QUESTION, "--json", "--url", server.url).stdout)
    assert here.pop("probabilities") == pytest.approx(there.pop("probabilities"), abs=1e-4)
    assert here["letter"] == there["letter"]
    assert here["model_version"] == there["model_version"]


@pytest.mark.parametrize("here", [True, False])
def test_people_are_told_what_a_demonstration_model_is(server: Any, here: bool) -> None:
    where = ("--model", str(defaults.TINY_MODEL)) if here else ("--url", server.url)
    lines = ask("--random", "--subject", "complexity", "--seed", "3", *where).stdout.splitlines()
    assert lines[-2].startswith(
        "answered by a tiny demonstration model: it learned 17 subjects, and is right about 69%"
    )
    assert lines[-1].startswith("the real model, 3.1 GB:")
    assert not any("outside" in line for line in lines)
    lines = ask("Who wrote Hamlet?", "-c", "Goethe", "-c", "Shakespeare", *where).stdout.splitlines()
    assert lines[-2].startswith("this question is outside those: expect a guess (it learned aliasing, ")
    assert lines[-1].startswith("the real model, 3.1 GB:")


def test_of_a_version_without_a_card_nothing_is_claimed(tmp_path: Path) -> None:
    version = shutil.copytree(defaults.TINY_MODEL, tmp_path / "mine")
    (version / "card.json").unlink()
    result = ask(*QUESTION, "--model", str(version))
    assert result.exit_code == 0, result.stderr
    assert "demonstration" not in result.stdout


def test_a_subject_that_the_bank_lacks_is_named() -> None:
    result = ask("--random", "--subject", "history")
    assert result.exit_code == 1
    assert "the bank has no subject history; it has aliasing, " in result.stderr


def test_a_named_model_answers_in_process() -> None:
    result = ask(*QUESTION, "--model", str(defaults.TINY_MODEL))
    assert result.exit_code == 0, result.stderr
    assert "in process" in result.stdout
    missing = ask(*QUESTION, "--model", "/no/such/model")
    assert missing.exit_code == 1
    assert "/no/such/model" in missing.stderr
    assert missing.stderr.count("\n") == 1


def test_a_random_question_says_whether_the_answer_was_right(server: Any) -> None:
    first, second = (ask("--random", "--seed", "3", "--url", server.url).stdout.splitlines() for _ in range(2))
    assert any(line.startswith(("✓ right", "✗ wrong: the answer is ")) for line in first)
    assert first[0] == second[0]
    assert ask("--url", server.url).exit_code == 0  # without any question: a random one


def test_many_questions_from_stdin(server: Any) -> None:
    lines = [{"question": f"{i} + 1?", "choices": [str(i), str(i + 1)], "answer": 1, "id": f"n{i}"} for i in range(150)]
    text = "\n".join(json.dumps(line) for line in lines)
    result = ask("--file", "-", "--json", "--url", server.url, stdin=text)
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [f"n{i}" for i in range(150)]
    shown = ask("--file", "-", "--url", server.url, stdin=text).stdout.splitlines()
    right = sum(json.loads(line)["index"] == 1 for line in result.stdout.splitlines())
    assert any(line.startswith(f"150 questions · {right} of 150 right · ") for line in shown)
    assert "150 of 150 questions are outside those" in shown[-2]


def test_code_comes_from_a_file_and_is_shown(server: Any, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("total = sum([1, 2])\nprint(total)\n")
    words = ("What is printed?", "-c", "3", "-c", "12", "--code-file", str(tmp_path / "code.py"), "--url", server.url)
    assert "total = sum([1, 2])" in ask(*words).stdout


def test_an_explanation_follows_the_answer(server: Any) -> None:
    words = (*QUESTION, "--explain", "--max-new-tokens", "8", "--debias", "none", "--json")
    there = json.loads(ask(*words, "--url", server.url).stdout)
    here = json.loads(ask(*words, "--model", str(defaults.TINY_MODEL)).stdout)
    assert isinstance(there["explanation"], str)
    assert there["explanation"] == here["explanation"]


@pytest.mark.parametrize("here", [True, False], ids=["here", "server"])
def test_on_a_terminal_it_is_printed_while_it_is_written(server: Any, tmp_path: Path, here: bool) -> None:
    where = ("--model", str(defaults.TINY_MODEL)) if here else ("--url", server.url)
    words = ("ask", *QUESTION, "--explain", "--max-new-tokens", "8", "--debias", "none", *where)
    whole = json.loads(ask(*words[1:], "--json").stdout)["explanation"]
    code, written = on_terminal(*words, env=environment(tmp_path), columns=120)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).replace("\r\n", "\n")
    assert (code, shown.count(whole)) == (0, 1)
    assert shown.index("letter mass") < shown.index(whole), "the answer comes first"
    assert QUESTION[0] in shown


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal._Console(highlight=False, color_system=None, force_terminal=True, width=200)
    monkeypatch.setattr(terminal, "out", console)


@pytest.mark.usefixtures("wide_terminal")
def test_the_question_counts_and_its_stream_is_a_test() -> None:
    """Whoever reads a stream decides how it ends, so it counts for nothing."""
    with model_server() as model:
        result = ask(*QUESTION, "--explain", "--debias", "none", "--url", model.url)
    assert result.exit_code == 0, result.stderr
    assert [body["parameters"] for body in model.asked] == [
        {"debias": "none"},
        {"debias": "none", "purpose": "test", "max_new_tokens": 256, "stream": True},
    ]
    answer, other, text = (
        result.stdout.index(words)
        for words in (
            " · version 7 · ",
            "\nversion 8 wrote this, which answers B: another one than gave the answer, as happens while a canary "
            "runs and after a promotion\n",
            "Because.",
        )
    )
    assert answer < other < text


@pytest.mark.usefixtures("wide_terminal")
def test_of_the_same_version_nothing_is_said() -> None:
    with model_server() as model:
        model.version = "8"
        result = ask(*QUESTION, "--explain", "--url", model.url)
    assert ("Because." in result.stdout, "wrote this" in result.stdout) == (True, False)


@pytest.mark.usefixtures("wide_terminal")
def test_no_other_model_answers_a_question_again_that_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default server breaks off in the middle: it was there, so the tiny model is not loaded in its place."""
    with model_server() as model:
        target = Target(model.url, AddressSource.DEFAULT)
        monkeypatch.setattr(targets, "questions", lambda *_, **__: target)
        monkeypatch.setattr(model, "events", lambda _: iter(()))
        result = ask(*QUESTION, "--explain")
    assert (result.exit_code, result.stdout.count(QUESTION[0])) == (1, 1)
    assert "closed the connection before the explanation was finished" in result.stderr


@pytest.mark.parametrize("visibly", [True, False], ids=["terminal", "pipe"])
def test_no_text_of_a_server_or_a_question_can_control_the_terminal(
    request: pytest.FixtureRequest, visibly: bool
) -> None:
    if visibly:
        request.getfixturevalue("wide_terminal")
    evil = "\x1b]0;mine\x07\x9b2J\u202e\u2066"
    card = {"schema": 1, "title": f"model{evil}", "subjects": [f"loops{evil}"], "stems": []}
    words = (f"Which{evil}?", "-c", f"one{evil}", "-c", f"two{evil}", "--code", f"x = 1{evil}")
    with model_server() as model:
        model.version, model.card = f"7{evil}", card
        result = ask(*words, *(("--explain",) if visibly else ()), "--url", model.url)
    assert result.exit_code == 0, result.stderr
    safe = "\ufffd]0;mine\ufffd\ufffd2J"
    for text in ("Which", "one", "two", "x = 1", "version 7"):
        assert f"{text}{safe}" in result.stdout
    written = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout) + result.stderr
    assert not set(evil) - set(safe) & set(written)


def test_an_explanation_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    item = AskedQuestion(Question("Which?", ("a", "b")), correct_index=1)
    view = ExplanationView([item, item])
    view.end()  # nothing was answered
    view.answer(Answer("A", 0, "a", (0.6, 0.4), 0.6, 0.2, 0.7, 1.0, 9, "7"), "3 ms")
    for piece in ("one\x1b]0;mine\x07", "\ttwo\r\x9b2J\u202d\n", "👩‍👧 three"):
        view.text(piece)
    view.end()
    shown = capsys.readouterr().out
    assert shown.endswith("one\ufffd]0;mine\ufffd\ttwo\ufffd\ufffd2J\n👩‍👧 three\n")
    assert "3 ms" not in shown, "of several questions, the time is said at the end"


def test_the_servers_refusal_is_told(server: Any) -> None:
    result = ask("long " * 20_000, "-c", "x", "-c", "y", "--url", server.url)
    assert result.exit_code == 1
    assert "tokens with its choices, the limit is" in result.stderr
