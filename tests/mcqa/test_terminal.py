"""What is printed, on terminals of several widths and where there is none."""

from __future__ import annotations

import io

import pytest

from common.question import Answer, parse_question
from mcqa import terminal

PROSE = "nobody has said anything of this kind before, and so it has to be long enough for two lines of a terminal"
COMMAND = "mcqa serve --model hf://Qwen/Qwen2.5-Coder-1.5B-Instruct"


class Shown:
    """What a console of this width wrote; None: what is no terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, width: int | None) -> None:
        monkeypatch.delenv("COLUMNS", raising=False)
        self.file = io.StringIO()
        forced = width is not None
        console = terminal._Console(file=self.file, color_system=None, force_terminal=forced, width=width)
        monkeypatch.setattr(terminal, "out", console)

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.file.getvalue().splitlines()]


def test_what_is_no_terminal_gets_no_line_breaks_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch, None)
    question = parse_question({"question": PROSE, "choices": [f"{PROSE} once", f"{PROSE} twice"], "code": f"# {PROSE}"})
    terminal.out.print(terminal.question_view(question))
    answer = Answer("A", 0, question.choices[0], (0.75, 0.25), 0.75, 0.5, 0.56, 1.0, 9, "7")
    terminal.out.print(terminal.answer_view(question, answer, note=PROSE))
    terminal.sentence(PROSE, COMMAND)
    terminal.hanging("head  ", PROSE)
    lines = shown.lines()
    ends = [PROSE, f"  # {PROSE}", f"{PROSE} once", f"{PROSE} twice", PROSE, f"{PROSE}  {COMMAND}", f"head  {PROSE}"]
    assert [line.endswith(end) for line, end in zip(filter(None, lines), ends, strict=True)] == [True] * len(ends)
    assert max(map(len, shown.file.getvalue().splitlines())) < 200  # nor spaces up to an edge that is not there
    terminal.out.rule("title")
    assert len(shown.lines()[-1]) == terminal.RULE_WIDTH


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_command_is_never_broken(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown = Shown(monkeypatch, width)
    terminal.sentence("the real model, 3.1 GB:", COMMAND)
    together = [f"the real model, 3.1 GB:  {COMMAND}"]
    assert shown.lines() == (together if width == 100 else ["the real model, 3.1 GB:", f"  {COMMAND}"])


@pytest.mark.parametrize("width", [60, 80, 100])
def test_prose_is_wrapped_between_words_and_beside_its_head(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown = Shown(monkeypatch, width)
    terminal.sentence(PROSE)
    assert " ".join(shown.lines()) == PROSE
    before = len(shown.lines())
    terminal.hanging("✓ name   1.0 s  ", PROSE)
    first, *others = shown.lines()[before:]
    assert first.startswith("✓ name   1.0 s  nobody")
    assert others
    assert all(line.startswith(" " * 16) for line in others)
    assert all(len(line) <= width for line in shown.lines())
