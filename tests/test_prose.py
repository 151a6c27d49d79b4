"""The wording that docs/prose.toml agrees on."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tools import prose

RULES = prose.rules()


@pytest.mark.parametrize("rule", RULES, ids=[rule.bad[:40] for rule in RULES])
def test_a_rule_remarks_on_its_bad_example_only(rule: prose.Rule) -> None:
    assert rule.pattern.search(rule.bad)
    assert not rule.pattern.search(rule.good)
    assert set(rule.kinds) <= set(prose.KINDS)


def words(text: Iterable[prose.Text]) -> list[tuple[int, str, str]]:
    return [(text.line, text.kind, text.words.strip()) for text in text if text.words.strip()]


def test_a_page_is_read_without_code_and_addresses(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("A `must be a text` here.\n\n```sh\necho now\n```\n\n    now\n\n[a](now.md)\n")
    assert [text for _, _, text in words(prose.markdown(page))] == ["A                  here.", "[a"]


def test_a_module_is_read_by_kind(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""One.\n\nTwo `code`.\n"""\n\nname = f"three {1} four"  # five\n')
    assert words(prose.python(module)) == [
        (1, "docstring", "One."),
        (3, "docstring", "Two       ."),
        (6, "message", "three"),
        (6, "message", "four"),
        (6, "comment", "five"),
    ]


def test_a_script_is_read_by_its_comments_and_strings(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('#!/usr/bin/env bash\n# one\necho "two"\nread -r three\n')
    assert words(prose.script(script)) == [(2, "comment", "one"), (3, "message", "two")]


def test_what_breaks_a_rule_is_named_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("Good.\n\nIt must be a text.\n")
    assert prose.main([str(page)]) == 1
    assert capsys.readouterr().out == f"{page}:3: page: 'must be a text': string\n"
    page.write_text("It must be a string.\n")
    assert prose.main([str(page)]) == 0
