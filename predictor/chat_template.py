"""A version's chat template: where it is, and rendering it within bounds of time and memory.

A template is a program, written by whoever made the version, and an interpreter cannot bound it: `'a' * 10**9` is a
single operation, `x ~ x` in a loop is a hundred small ones, and a thread cannot be stopped. So a template is rendered
in a process of its own, under the operating system's limits of processor time and memory. A template that only loops
over the messages once and joins strings is bounded by its own length: it is rendered here, which saves a process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from predictor import chat_template_sandbox
from predictor.chat_template_sandbox import CPU_SECONDS, MEMORY_BYTES, ChatTemplateError, Conversation
from predictor.errors import VersionError
from predictor.version_files import has_file, read_json, read_text, short_repr

FILE = "chat_template.jinja"
CONFIG = "tokenizer_config.json"
MAX_BYTES = 1 << 20
# Processor time is the actual bound; this only ends the wait on a machine that does not run the process at all.
_WAIT_SECONDS = 120
_PLAIN_LENGTH = 16_384
_PLAIN_NODES = frozenset(
    {
        "Template", "Output", "TemplateData", "Const", "Name", "Getattr", "Getitem", "Slice", "Compare", "Operand",
        "And", "Or", "Not", "If", "CondExpr", "For", "Add", "Concat",
    }
)  # fmt: skip


class ChatTemplate:
    """The template in a version's folder; VersionError if there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        config = read_json(folder / CONFIG) if has_file(folder / CONFIG) else {}
        self.source = _source(folder, config)
        self.special = _special_tokens(folder, config)

    def render(self, conversations: Sequence[Conversation]) -> list[str]:
        """Each conversation as text, up to where the assistant's turn begins."""
        try:
            if _is_plain(self.source):
                return chat_template_sandbox.render(self.source, self.special, conversations)
            return _render_in_process(self.source, self.special, conversations)
        except ChatTemplateError as error:
            raise VersionError(f"{self._folder}: the chat template {error}") from None


def _source(folder: Path, config: Mapping[str, Any]) -> str:
    if has_file(folder / FILE):
        return read_text(folder / FILE, MAX_BYTES)
    source = config.get("chat_template")
    if isinstance(source, list):  # several with names; `default` is the chat's
        defaults = [entry for entry in source if isinstance(entry, dict) and entry.get("name") == "default"]
        source = defaults[0].get("template") if defaults else None
    if not isinstance(source, str):
        raise VersionError(f"{folder}: no chat template ({FILE} or {CONFIG}); is it an Instruct model?")
    if len(source) > MAX_BYTES:
        raise VersionError(f"{folder}/{CONFIG}: chat_template is larger than {MAX_BYTES >> 20} MiB")
    return source


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    tokens = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = config.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if value is not None and not isinstance(value, str):
            raise VersionError(f"{folder}/{CONFIG}: {name} must be a string, found {short_repr(value)}")
        if value:
            tokens[name] = value
    return tokens


def _is_plain(source: str) -> bool:
    """Whether its own length bounds the cost of rendering it: no calls, no assignments, no nested loops."""
    if len(source) > _PLAIN_LENGTH:
        return False
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError

    try:
        tree = chat_template_sandbox.environment().parse(source)
        loops = list(tree.find_all(nodes.For))
        kinds = {type(node).__name__ for node in tree.find_all(nodes.Node)}
    except (TemplateError, RecursionError):
        return False
    nested = any(True for loop in loops for _ in loop.find_all(nodes.For))
    return kinds <= _PLAIN_NODES and not nested and not any(loop.recursive for loop in loops)


def _render_in_process(source: str, special: Mapping[str, str], conversations: Sequence[Conversation]) -> list[str]:
    task = json.dumps(
        {"source": source, "special": special, "conversations": [list(messages) for messages in conversations]}
    )
    # -P: this package's folder must not be searched for modules that jinja2 imports.
    command = [sys.executable, "-P", chat_template_sandbox.__file__, str(CPU_SECONDS), str(MEMORY_BYTES)]
    try:
        process = subprocess.run(command, input=task.encode(), capture_output=True, timeout=_WAIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ChatTemplateError(f"failed: not rendered within {_WAIT_SECONDS} s") from None
    except OSError as error:
        raise ChatTemplateError(
            f"failed: the process that renders it could not be started: {error.strerror or error}"
        ) from None
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ChatTemplateError(f"failed: it takes more than {CPU_SECONDS} s of processor time")
    try:
        result = json.loads(process.stdout)
    except ValueError:
        limits = f"{CPU_SECONDS} s of processor time and {MEMORY_BYTES >> 20} MiB"
        raise ChatTemplateError(f"failed: it needs more than {limits} (exit status {process.returncode})") from None
    if "error" in result:
        raise ChatTemplateError(result["error"])
    return [str(text) for text in result["rendered"]]
