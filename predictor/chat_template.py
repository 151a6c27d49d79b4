"""A version's chat template: where it is, and rendering it within bounds of time and memory.

A template is a program of whoever made the version. Nothing inside an interpreter bounds one: `'a' * 10**9` is a
single operation, `x ~ x` in a loop is a hundred small ones, and a thread cannot be stopped. So a template is rendered
in a process of its own, under the operating system's limits of processor time and memory. What only loops over the
messages once and joins texts is bounded by its own length: that is rendered here, and saves a start the process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from predictor import template_render
from predictor.template_render import CPU_SECONDS, MEMORY_BYTES, Conversation, TemplateFailed
from predictor.version_files import VersionError, has_file, read_json, read_text, shown

FILE = "chat_template.jinja"
CONFIG = "tokenizer_config.json"
MAX_BYTES = 1 << 20
# Processor time is what bounds it; this only ends a wait for a machine that does not run the process at all.
_WAIT_SECONDS = 120
_PLAIN_LENGTH = 16_384
_PLAIN_NODES = frozenset(
    {
        "Template", "Output", "TemplateData", "Const", "Name", "Getattr", "Getitem", "Slice", "Compare", "Operand",
        "And", "Or", "Not", "If", "CondExpr", "For", "Add", "Concat",
    }
)  # fmt: skip


class ChatTemplate:
    """The template in a version's folder; VersionError when it has none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        config = read_json(folder / CONFIG) if has_file(folder / CONFIG) else {}
        self.source = _source(folder, config)
        self.special = _special_tokens(folder, config)

    def render(self, conversations: Sequence[Conversation]) -> list[str]:
        """Each conversation as text, up to where the assistant's turn begins."""
        try:
            if _is_plain(self.source):
                return template_render.render(self.source, self.special, conversations)
            return _render_apart(self.source, self.special, conversations)
        except TemplateFailed as error:
            raise VersionError(f"{self._folder}: the chat template {error}") from None


def _source(folder: Path, config: Mapping[str, Any]) -> str:
    if has_file(folder / FILE):
        return read_text(folder / FILE, MAX_BYTES)
    source = config.get("chat_template")
    if isinstance(source, list):  # several with names, of which `default` is the chat's
        named = [one for one in source if isinstance(one, dict) and one.get("name") == "default"]
        source = named[0].get("template") if named else None
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
            raise VersionError(f"{folder}/{CONFIG}: {name} must be a text, found {shown(value)}")
        if value:
            tokens[name] = value
    return tokens


def _is_plain(source: str) -> bool:
    """Whether the text's own length bounds what rendering it can cost: no calls, no assignments, no loop in a loop."""
    if len(source) > _PLAIN_LENGTH:
        return False
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError

    try:
        tree = template_render.environment().parse(source)
        loops = list(tree.find_all(nodes.For))
        kinds = {type(node).__name__ for node in tree.find_all(nodes.Node)}
    except (TemplateError, RecursionError):
        return False
    nested = any(True for loop in loops for _ in loop.find_all(nodes.For))
    return kinds <= _PLAIN_NODES and not nested and not any(loop.recursive for loop in loops)


def _render_apart(source: str, special: Mapping[str, str], conversations: Sequence[Conversation]) -> list[str]:
    task = json.dumps({"source": source, "special": special, "conversations": [list(one) for one in conversations]})
    # -P: this package's folder must not be searched for modules that jinja2 imports.
    command = [sys.executable, "-P", template_render.__file__, str(CPU_SECONDS), str(MEMORY_BYTES)]
    try:
        done = subprocess.run(command, input=task.encode(), capture_output=True, timeout=_WAIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise TemplateFailed(f"failed: not rendered within {_WAIT_SECONDS} s") from None
    except OSError as error:
        raise TemplateFailed(f"failed: no process to render it in: {error.strerror or error}") from None
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise TemplateFailed(f"failed: it takes more than {CPU_SECONDS} s of processor time")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        limits = f"{CPU_SECONDS} s of processor time and {MEMORY_BYTES >> 20} MiB"
        raise TemplateFailed(f"failed: it needs more than {limits} (exit status {done.returncode})") from None
    if "error" in answer:
        raise TemplateFailed(answer["error"])
    return [str(text) for text in answer["rendered"]]
