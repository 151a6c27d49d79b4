"""Checks the wording of documentation, docstrings, comments and messages against docs/prose.toml.

    python -m tools.prose [PATH ...]

Written by hand: Vale, which does this, comes from PyPI and npm only as a program that downloads its binary from GitHub
while it runs, and it does not read Python's string literals. Spelling is left to codespell.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.project import ROOT

RULES = ROOT / "docs" / "prose.toml"

# The kinds of text that a rule can be restricted to.
KINDS = ("page", "docstring", "comment", "message")

_FENCE = re.compile(r"^[ >]*(```|~~~)")
_MARKDOWN_CODE = re.compile(r"(`+)(?:.*?)\1|<!--.*?-->|\]\([^)]*\)|^\[[^]]+\]:.*$|<[^ >][^>]*>|https?://\S+")
_COMMENT_LINE = re.compile(r"^\s*(?:#(?!!)|//)\s?(.*)$")
_SHELL_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NOT_PROSE = re.compile(r"`[^`]*`|https?://\S+")


@dataclass(frozen=True)
class Text:
    """One line of prose: where it is, what kind it is, and the words without code and addresses."""

    path: Path
    line: int
    kind: str
    words: str


@dataclass(frozen=True)
class Rule:
    """A wording that is not used, and what is written instead."""

    pattern: re.Pattern[str]
    instead: str
    kinds: tuple[str, ...]
    bad: str
    good: str


@dataclass(frozen=True)
class Remark:
    """A rule that a line breaks."""

    text: Text
    match: str
    rule: Rule

    def __str__(self) -> str:
        path = self.text.path.relative_to(ROOT) if self.text.path.is_relative_to(ROOT) else self.text.path
        return f"{path}:{self.text.line}: {self.text.kind}: {self.match!r}: {self.rule.instead}"


def _kept_length(match: re.Match[str]) -> str:
    return " " * len(match[0])


def markdown(path: Path) -> Iterator[Text]:
    """The lines of a page outside code; none of a generated page, whose words are checked where they come from."""
    fence, text = "", path.read_text(encoding="utf-8")
    for number, line in enumerate([] if text.startswith("<!-- Generated") else text.splitlines(), 1):
        if match := _FENCE.match(line):
            fence = "" if fence == match[1] else fence or match[1]
            continue
        if not fence and not line.startswith("    "):
            yield Text(path, number, "page", _MARKDOWN_CODE.sub(_kept_length, line))


def python(path: Path) -> Iterator[Text]:
    """The comments, docstrings and string literals of a module."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    # A string that is a statement documents what is above it.
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            kind = "docstring" if id(node) in docstrings else "message"
            for offset, line in enumerate(node.value.split("\n")):
                yield Text(path, node.lineno + offset, kind, _NOT_PROSE.sub(_kept_length, line))
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield Text(path, token.start[0], "comment", _NOT_PROSE.sub(_kept_length, token.string[1:]))


def script(path: Path) -> Iterator[Text]:
    """The comments of a file with `#` comments, and the double-quoted strings of a shell script."""
    source = path.read_text(encoding="utf-8")
    shell = source.startswith("#!") and "sh" in source.split("\n", 1)[0]
    for number, line in enumerate(source.splitlines(), 1):
        if match := _COMMENT_LINE.match(line):
            yield Text(path, number, "comment", _NOT_PROSE.sub(_kept_length, match[1]))
        elif shell:
            for match in _SHELL_STRING.finditer(line):
                yield Text(path, number, "message", match[1])
        elif path.name == "Makefile" and "##" in line:
            yield Text(path, number, "message", line.split("##", 1)[1])


def texts(path: Path, data: Iterable[str] = ()) -> Iterator[Text]:
    """The prose of a file by its name; of one that a pattern of `data` matches, all but its strings."""
    read = markdown if path.suffix == ".md" else python if path.suffix == ".py" else script
    strings_are_data = any(path.match(pattern) for pattern in data)
    return (text for text in read(path) if not (strings_are_data and text.kind == "message"))


def document() -> dict[str, Any]:
    return tomllib.loads(RULES.read_text(encoding="utf-8"))


def rules() -> list[Rule]:
    return [
        Rule(
            re.compile(rule["pattern"], re.IGNORECASE),
            rule["instead"],
            tuple(rule.get("in", KINDS)),
            rule["bad"],
            rule["good"],
        )
        for rule in document()["rule"]
    ]


def check(lines: Iterable[Text], applied: list[Rule]) -> Iterator[Remark]:
    for text in lines:
        for rule in applied:
            if text.kind in rule.kinds:
                for match in rule.pattern.finditer(text.words):
                    yield Remark(text, match[0], rule)


def tracked(folder: Path) -> list[Path]:
    """What git knows in a folder: not the tests, whose strings are often wrong on purpose, and not CHANGELOG.md."""
    command = ["git", "ls-files", "-z", "--full-name"]
    listed = subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout.decode()
    top = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=folder, capture_output=True, check=True)
    return [Path(top.stdout.decode().strip(), name) for name in listed.split("\0") if name and is_prose(Path(name))]


def is_prose(path: Path) -> bool:
    if path.parts[0] == "tests" or path.name == "CHANGELOG.md" or path == RULES.relative_to(ROOT):
        return False
    return path.suffix in {".md", ".py", ".yaml", ".toml"} or "Dockerfile" in path.name or not path.suffix


def main(arguments: list[str]) -> int:
    given = [Path(argument).resolve() for argument in arguments] or [ROOT]
    paths = [file for path in given for file in (tracked(path) if path.is_dir() else [path])]
    applied, data = rules(), document()["data"]
    remarks = [remark for path in paths if path.is_file() for remark in check(texts(path, data), applied)]
    for remark in sorted(remarks, key=lambda remark: (str(remark.text.path), remark.text.line)):
        print(remark)
    if remarks:
        print(f"{len(remarks)} remarks; the rules are in {RULES.relative_to(ROOT)}", file=sys.stderr)
    return 1 if remarks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
