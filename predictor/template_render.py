"""Renders a version's Jinja chat template, in the same sandbox as transformers': a version is data, not code.

As a program it reads one JSON object on stdin and writes one on stdout, under limits that the operating system keeps:
see predictor/chat_template.py for when and why. Standard library and jinja2 only, so that it starts quickly.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

CPU_SECONDS = 5
MEMORY_BYTES = 1 << 30
MAX_RENDERED = 1 << 20

Conversation = Sequence[Mapping[str, str]]


class TemplateFailed(Exception):
    """The template does not parse, or failed on a conversation; the message says how."""


def environment() -> Any:
    """The sandbox, with the names that transformers gives a chat template."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: object) -> None:
        raise TemplateError(str(message))

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], cache_size=0
    )
    made.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
    made.globals["raise_exception"] = refuse
    return made


def render(source: str, special: Mapping[str, str], conversations: Sequence[Conversation]) -> list[str]:
    """Each conversation as the template shows it; TemplateFailed when it does not."""
    from jinja2.exceptions import TemplateError, TemplateSyntaxError

    try:
        template = environment().from_string(source)
        shown = []
        for messages in conversations:
            pieces, size = [], 0
            for piece in template.generate(messages=messages, add_generation_prompt=True, **special):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_RENDERED:
                    raise TemplateFailed(f"failed: it makes more than {MAX_RENDERED:,} characters")
            shown.append("".join(pieces))
    except TemplateSyntaxError as error:
        raise TemplateFailed(f"does not parse: {_line(error)}") from None
    except TemplateError as error:
        raise TemplateFailed(f"failed: {_line(error)}") from None
    except (MemoryError, RecursionError) as error:
        raise TemplateFailed(f"failed: {type(error).__name__}: it needs more than it may have") from None
    except TemplateFailed:
        raise
    except Exception as error:  # whatever its expressions may raise
        raise TemplateFailed(f"failed: {type(error).__name__}: {_line(error)}") from None
    return shown


def main() -> int:
    import jinja2.sandbox  # noqa: F401 - the limits are for the template alone

    _limit()
    task = json.load(sys.stdin)
    try:
        answer = {"rendered": render(task["source"], task["special"], task["conversations"])}
    except TemplateFailed as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    return 0


def _limit() -> None:
    import resource

    limits = {resource.RLIMIT_CPU: CPU_SECONDS, resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CORE: 0}
    for name, most in limits.items():
        try:
            _, hard = resource.getrlimit(name)
            kept = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(name, (kept, kept))
        except (ValueError, OSError):  # macOS knows no limit of the address space; the other one holds
            continue


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    sys.exit(main())
