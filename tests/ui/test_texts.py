"""The catalogue: both languages, the same parameters, every text used and every used text there."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from ui.language import LANGUAGES, catalogue

FOLDER = Path(__file__).resolve().parents[2] / "ui"
FILES = sorted(FOLDER.rglob("*.py"))
READERS = {"t", "parts", "template", "count", "has"}
COMPUTED = ("app.page.", "app.kind.")
"""Keys that code builds; a page adds its own by a comment `# texts: loop.waiting.*` beside the code that does."""


def parameters(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(catalogue()))
def test_a_text_is_there_in_every_language_with_the_same_parameters(key: str) -> None:
    entry = catalogue()[key]
    assert set(entry) == set(LANGUAGES)
    assert all(text.strip() == text != "" for text in entry.values())
    assert len({frozenset(parameters(text)) for text in entry.values()}) == 1


def used() -> Iterator[str]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def computed() -> list[str]:
    marks = (re.findall(r"# texts: (\S+)", file.read_text("utf-8")) for file in FILES)
    return [*COMPUTED, *(mark.removesuffix("*") for found in marks for mark in found)]


def test_no_text_is_left_over() -> None:
    constants, prefixes = set(used()), tuple(computed())
    plural = re.compile(r"\.(one|other)$")
    unused = [key for key in catalogue() if key not in constants and plural.sub("", key) not in constants]
    assert [key for key in unused if not key.startswith(prefixes)] == []


def test_every_text_that_code_names_is_there() -> None:
    missing = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READERS and node.args:
                key = node.args[0]
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and "." in key.value:
                    keys = {key.value, f"{key.value}.one"} & set(catalogue())
                    missing += [] if keys else [f"{file.name}: {key.value}"]
    assert missing == []
