"""Renders a version's Jinja chat template in the sandbox that transformers uses: a version is data, not code.

As a program it reads one JSON object from stdin and writes one to stdout, under limits that the operating system
enforces: see predictor/chat_template.py for when and why. Standard library and jinja2 only, so that it starts quickly.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CPU_SECONDS = 5
MEMORY_BYTES = 512 << 20
MAX_RENDERED = 1 << 20

Conversation = Sequence[Mapping[str, str]]


class ChatTemplateError(Exception):
    """The template does not parse, or failed on a conversation; the message says why."""


def environment() -> Any:
    """The sandbox, with the names that transformers provides to a chat template."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: object) -> None:
        raise TemplateError(str(message))

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], cache_size=0
    )
    environment.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
    environment.globals["raise_exception"] = refuse
    return environment


def render(source: str, special: Mapping[str, str], conversations: Sequence[Conversation]) -> list[str]:
    """Each conversation as the template renders it; ChatTemplateError when it fails."""
    from jinja2.exceptions import TemplateError, TemplateSyntaxError

    try:
        template = environment().from_string(source)
        return [
            _joined(template.generate(messages=messages, add_generation_prompt=True, **special))
            for messages in conversations
        ]
    except TemplateSyntaxError as error:
        raise ChatTemplateError(f"does not parse: {_line(error)}") from None
    except TemplateError as error:
        raise ChatTemplateError(f"failed: {_line(error)}") from None
    except (MemoryError, RecursionError) as error:
        raise ChatTemplateError(f"failed: {type(error).__name__}: it exceeds its limits") from None
    except ChatTemplateError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever its expressions may raise
        raise ChatTemplateError(f"failed: {type(error).__name__}: {_line(error)}") from None


def _joined(pieces: Iterable[str]) -> str:
    kept, size = [], 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size > MAX_RENDERED:
            raise ChatTemplateError(f"failed: it produces more than {MAX_RENDERED:,} characters")
    return "".join(kept)


def main() -> int:
    import jinja2.sandbox  # noqa: F401 - the limits are for the template alone

    _limit(int(sys.argv[1]), int(sys.argv[2]))
    task = json.load(sys.stdin)
    try:
        result: dict[str, Any] = {"rendered": render(task["source"], task["special"], task["conversations"])}
    except ChatTemplateError as error:
        result = {"error": str(error)}
    json.dump(result, sys.stdout)
    return 0


def _limit(seconds: int, memory: int) -> None:
    import resource

    limits = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_AS: memory, resource.RLIMIT_CORE: 0}
    for name, limit in limits.items():
        try:
            _, hard = resource.getrlimit(name)
            value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(name, (value, value))
        except (ValueError, OSError):  # macOS has no limit of the address space; the other limits hold
            continue


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    sys.exit(main())
