from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from mcqa import questions
from mcqa.errors import CommandError
from mcqa.verbs import app

VERBS = ["quickstart", "serve", "ask", "evaluate", "bank", "model", "model make-tiny", "model fetch", "model show"]
CHOICES = ["-c", "x", "-c", "y"]


def mcqa(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [*words], input=stdin, env={"COLUMNS": "200"})


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_says_what_it_is_for(verb: str) -> None:
    shown = mcqa(*verb.split(), "--help")
    assert shown.exit_code == 0
    command: Any = get_command(app)
    for word in verb.split():
        command = command.commands[word]
    assert command.help
    assert command.help.split()[0] in shown.stdout
    for parameter in command.params:
        assert parameter.help, f"{verb} {parameter.name}"
        assert (parameter.opts[0] if parameter.param_type_name == "option" else parameter.name) in shown.stdout


@pytest.mark.usefixtures("processes")
def test_help_is_the_default_and_names_every_verb() -> None:
    shown = subprocess.run([sys.executable, "-m", "mcqa"], capture_output=True, text=True, check=False)
    for verb in VERBS:
        assert f" {verb.split()[0]} " in shown.stdout


def test_hello_still_works_but_is_not_listed() -> None:
    old, new = mcqa("hello", "--help"), mcqa("quickstart", "--help")
    assert old.exit_code == 0
    assert old.stdout.split("hello", 1)[1].split() == new.stdout.split("quickstart", 1)[1].split()
    assert " hello " not in mcqa("--help").stdout


@pytest.mark.usefixtures("processes")
def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "kserve", "matplotlib", "numpy", "grpc", "httpx2", "huggingface_hub", "mlflow")
    script = (
        "import sys, mcqa.verbs\n"
        "try: mcqa.verbs.app(['ask', '--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ask", "Q?"], "a question needs 2 to 10 choices, found 0"),
        (["ask", "Q?", "-c", "x"], "found 1"),
        (["ask", "-c", "x", "-c", "y"], "choices and code need a question"),
        (["ask", "Q?", *CHOICES, "--random"], "only one of them"),
        (["ask", "Q?", *CHOICES, "--url", "http://h", "--model", "m"], "not both"),
        (["ask", "Q?", *CHOICES, "--explain", "--protocol", "grpc"], "over v1 only"),
        (["ask", "Q?", *CHOICES, "--code", "a", "--code-file", __file__], "not both"),
        (["ask", "Q?", *CHOICES, "--code-file", "/no/such/file"], "does not exist"),
        (["ask", "Q?", *CHOICES, "--debias", "maybe"], "maybe"),
        (["evaluate", "--url", "http://h", "--model", "m"], "not both"),
        (["evaluate", "--limit", "0"], "greater than or equal to 1"),
        (["evaluate", "--split", "test"], "test"),
        (["model", "make-tiny", "--steps", "5", "--minutes", "1"], "give one of them"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], says: str) -> None:
    result = mcqa(*words)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ask", "Q?", "-c", "x", "-c", "x"], "choices: A and B are the same text"),
        (["ask", "Q?", *CHOICES, "--url", "http://127.0.0.1:9"], "no server answers at http://127.0.0.1:9: start one"),
        (["ask", "Q?", *CHOICES, "--url", "127.0.0.1:9", "--protocol", "grpc"], "no server answers at 127.0.0.1:9"),
        (["ask", "Q?", *CHOICES, "--url", "http://["], "http://["),
        (["ask", "--file", "/no/such/file.json"], "cannot read /no/such/file.json: No such file or directory"),
        (["evaluate", "--bank", "/no/such.jsonl"], "/no/such.jsonl"),
        (["evaluate", "--bank", "unheard-of"], "unheard-of"),
        (["bank", "--subject", "cooking"], "generated has no subject cooking; it has "),
        (["model", "show", "/no/such/folder"], "/no/such/folder: no such folder"),
        (["model", "show", "mlflow://coding-mcqa/7"], "run `mcqa model fetch mlflow://coding-mcqa/7`"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(words: list[str], says: str) -> None:
    result = mcqa(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


@pytest.mark.usefixtures("processes")
def test_a_failure_stays_one_line_in_a_real_narrow_terminal() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "mcqa", "ask", "Q?", *CHOICES, "--url", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        env={"COLUMNS": "20", "PATH": ""},
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)


QUESTION = {"question": "Q?", "choices": ["x", "y"]}


@pytest.mark.parametrize(
    ("text", "rights"),
    [
        (json.dumps(QUESTION), [None]),
        (json.dumps(QUESTION, indent=2), [None]),
        (json.dumps([QUESTION, {**QUESTION, "answer": 1}]), [None, 1]),
        (json.dumps(QUESTION) + "\n\n" + json.dumps({**QUESTION, "answer": 0}) + "\n", [None, 0]),
    ],
)
def test_questions_come_as_json_or_json_lines(tmp_path: Path, text: str, rights: list[int | None]) -> None:
    (tmp_path / "q").write_text(text)
    asked = questions.from_file(str(tmp_path / "q"))
    assert [item.correct_index for item in asked] == rights
    assert {item.question.choices for item in asked} == {("x", "y")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no question"),
        ("[]", "has no question"),
        ("not json", "line 1 is not JSON"),
        (json.dumps(QUESTION) + "\n{", "line 2 is not JSON"),
        ('"text"', "must be an object with question and choices, found a string"),
        (json.dumps([QUESTION, {"question": "Q?"}]), "question 1: choices: must be a list"),
        (json.dumps({**QUESTION, "answer": 2}), "answer: must be an index from 0 to 1, found 2"),
        (json.dumps({**QUESTION, "answer": "B"}), "answer: must be an index from 0 to 1, found 'B'"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "q").write_text(text)
    with pytest.raises(CommandError) as failure:
        questions.from_file(str(tmp_path / "q"))
    assert str(tmp_path / "q") in str(failure.value)
    assert says in str(failure.value)
