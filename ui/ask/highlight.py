"""Which language a piece of code is in: guessed for its highlighting, or chosen. It changes nothing for the model."""

from __future__ import annotations

import re

GUESS = ""
"""Chosen in place of a language."""

NAMES = {
    "python": "Python", "javascript": "JavaScript", "typescript": "TypeScript", "java": "Java", "c": "C", "cpp": "C++",
    "csharp": "C#", "go": "Go", "rust": "Rust", "ruby": "Ruby", "php": "PHP", "kotlin": "Kotlin", "swift": "Swift",
    "r": "R", "sql": "SQL", "bash": "Bash", "markup": "HTML", "css": "CSS", "json": "JSON", "yaml": "YAML",
}  # fmt: skip
"""By the names that the highlighter has."""

_ALIASES = {
    "py": "python", "python3": "python", "js": "javascript", "ts": "typescript", "c++": "cpp", "cs": "csharp",
    "c#": "csharp", "golang": "go", "rs": "rust", "rb": "ruby", "kt": "kotlin", "sh": "bash", "shell": "bash",
    "html": "markup", "xml": "markup", "yml": "yaml",
}  # fmt: skip

# Each expression that is found counts for its language; the first of those with the most counts wins. No line that they
# see is empty, long or ends in a space (`_looked_at`): else some would take the square or the cube of a text's length.
_SIGNS: tuple[tuple[str, str], ...] = (
    ("python", r"^[ \t]*def \w+\(.*\).*:$|^[ \t]*(?:elif .*|else|try|finally):$"),
    ("python", r"^[ \t]*(?:for .+ in .+|while .+|if .+|class \w.*|with .+):$"),
    ("python", r"^[ \t]*(?:from [\w.]+ )?import [\w., ]+$|\bprint\(|\b(?:self|None|True|False)\b|\blambda \w+:"),
    ("python", r"\b(?:len|range|sorted|list|dict|set|str|int|sum)\("),
    ("typescript", r"\binterface \w+ \{|:\s*(?:string|number|boolean)\b(?!\()|\bas const\b"),
    ("javascript", r"\bconsole\.log\(|\b(?:const|let|var) \w+\s*=|=>|===|\bfunction\b.*\{"),
    ("java", r"\bpublic (?:static )?(?:class|void|int)\b|\bSystem\.out\.print"),
    ("csharp", r"\bConsole\.Write|\busing System\b|\bnamespace \w+"),
    ("cpp", r"#include <\w+>|\bstd::|\bcout\s*<<"),
    ("c", r"#include <\w+\.h>|\bprintf\(|\bint main\(|\bmalloc\("),
    ("go", r"\bfunc \w*\(.*\).*\{|\bfmt\.\w+\(|^package \w+|:="),
    ("rust", r"\bfn \w+|\blet mut\b|println!\(|\bimpl\b|&mut\b"),
    ("ruby", r"^[ \t]*(?:end|puts .*)$|\bdo \|\w+\|"),
    ("php", r"<\?php|\$\w+\s*=|\becho\b.*;"),
    ("kotlin", r"\bfun \w+\(|\bval \w+\s*[:=]"),
    ("swift", r"\bfunc \w+\(.*->|\bguard let\b"),
    ("sql", r"(?i)\bselect\b[\s\S]+\bfrom\b|\binsert into\b|\bcreate table\b|\bupdate\b[\s\S]+\bset\b"),
    ("bash", r"^#!.*\b(?:ba)?sh\b|^[ \t]*(?:echo|grep|sed|cat|ls|export) |\bfi$|\bdone$"),
    ("markup", r"(?i)<!doctype html|</?(?:div|p|a|html|body|span|ul|table)\b"),
    ("css", r"^[\w.#][^{}\n]*\{$|^[ \t]*[\w-]+:[^;\n]+;$"),
    ("r", r"<-\s*\w|\bc\(\d"),
    ("json", r"\A\s*[{\[]\s*(?:\"|\{|\[|\d)[\s\S]*[}\]]\s*\Z"),
    ("yaml", r"^\w[\w-]*:$|^- \w+:"),
)  # fmt: skip
_COMPILED = [(name, re.compile(sign, re.MULTILINE)) for name, sign in _SIGNS]
_LOOKED_AT = 5_000
_LINE, _LINE_END = 150, 50


def guess(code: str) -> str | None:
    """The highlighter's name of the language; None where nothing speaks for any."""
    start = _looked_at(code)
    counts: dict[str, int] = {}
    for name, sign in _COMPILED:
        if sign.search(start):
            counts[name] = counts.get(name, 0) + 1
    return max(counts, key=counts.__getitem__) if counts else None


def _looked_at(code: str) -> str:
    """The beginning, and of long lines the beginning and the end."""
    lines = [line.rstrip() for line in code[:_LOOKED_AT].splitlines()]
    return "\n".join(
        line if len(line) <= _LINE + _LINE_END else f"{line[:_LINE]} {line[-_LINE_END:]}" for line in lines if line
    )


def known(name: str) -> str:
    """The highlighter's name of a fence's language, GUESS for one that is not known here."""
    plain = name.lower()
    return _ALIASES.get(plain, plain if plain in NAMES else GUESS)
