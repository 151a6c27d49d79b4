"""From a question to token ids, and from letters to token ids.

A version's own chat template frames the question. The text of a question is tokenised apart from the template, with
special tokens read as ordinary text: a choice that contains `<|im_end|>` stays a choice and cannot end the user's
turn. Because the frame is tokenised once, its first part is the same ids for every question: the shared prefix whose
keys and values the scorer computes once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor.question import LETTERS, Question
from predictor.weights import VersionError, read_json

SYSTEM = (
    "You are an expert programmer. Answer the multiple-choice question with the letter of the one correct choice "
    "and nothing else."
)
EXPLAIN = "Explain step by step, in a few sentences, why {letter} is the correct choice."

# Private-use characters, so that no template and no tokenizer gives them a meaning.
_SLOT = "\ue000slot\ue001"


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a version was taught to read questions; `prompt.json` in its folder, or these defaults.

    `letter-first` writes `A. choice`, as large instruction models expect. `letter-last` writes `choice A`: a small
    model finds the letter right behind the text it has just matched.
    """

    system: str = SYSTEM
    layout: str = "letter-first"

    @classmethod
    def read(cls, folder: Path) -> PromptFormat:
        if not (folder / "prompt.json").is_file():
            return cls()
        raw = read_json(folder / "prompt.json")
        form = cls(system=raw.get("system", SYSTEM), layout=raw.get("layout", "letter-first"))
        if form.layout not in _LAYOUTS or not isinstance(form.system, str):
            raise VersionError(f"{folder}/prompt.json: layout must be one of {', '.join(_LAYOUTS)}, system a text")
        return form

    def text(self, question: Question) -> str:
        """The user's turn, as text: the same for every way to write the question's white space."""
        return _LAYOUTS[self.layout](question.normalised())


def _letter_first(question: Question) -> str:
    parts = [question.stem]
    if question.code:
        parts.append(f"```\n{question.code}\n```")
    parts.append("\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False)))
    return "\n\n".join(parts)


def _letter_last(question: Question) -> str:
    parts = [question.stem]
    if question.code:
        parts.append(question.code)
    parts += [f"{choice} {letter}" for letter, choice in zip(LETTERS, question.choices, strict=False)]
    return "\n".join(parts)


_LAYOUTS = {"letter-first": _letter_first, "letter-last": _letter_last}


class PromptEncoder:
    """A version's tokenizer and chat template. Safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        if not (folder / "tokenizer.json").is_file():
            raise VersionError(f"{folder}: no tokenizer.json; save the tokenizer in its fast form")
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise VersionError(f"{folder}/tokenizer.json: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.format = PromptFormat.read(folder)
        template = _Template(folder)
        system = [{"role": "system", "content": self.format.system}] if self.format.system else []
        ask = [*system, {"role": "user", "content": _SLOT}]
        explain = [*ask, {"role": "assistant", "content": _SLOT}, {"role": "user", "content": _SLOT}]
        self._ask = self._frame(template.render(ask), slots=1)
        self._explain = self._frame(template.render(explain), slots=3)
        self.stop_ids = self._stop_ids(folder)
        # From here on the text of special tokens is only text.
        self._tokenizer.encode_special_tokens = True
        self.letter_ids = self._letters(folder)

    @property
    def prefix(self) -> tuple[int, ...]:
        """The ids every prompt starts with."""
        return self._ask[0]

    def encode(self, question: Question) -> tuple[int, ...]:
        """The whole prompt; the next token is the letter."""
        return self._fill(self._ask, (self.format.text(question),))

    def encode_explain(self, question: Question, letter: str) -> tuple[int, ...]:
        """The prompt, the letter as the assistant's turn, and the request to explain it."""
        return self._fill(self._explain, (self.format.text(question), letter, EXPLAIN.format(letter=letter)))

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def _tokenise(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _frame(self, rendered: str, slots: int) -> tuple[tuple[int, ...], ...]:
        parts = rendered.split(_SLOT)
        if len(parts) != slots + 1:
            raise VersionError(f"the chat template shows {len(parts) - 1} of {slots} messages; it must show each once")
        return tuple(self._tokenise(part) for part in parts)

    def _fill(self, frame: tuple[tuple[int, ...], ...], texts: Sequence[str]) -> tuple[int, ...]:
        ids = list(frame[0])
        for text, after in zip(texts, frame[1:], strict=True):
            ids += self._tokenise(text)
            ids += after
        return tuple(ids)

    def _letters(self, folder: Path) -> tuple[int, ...]:
        """Each letter's single token id: the scorer compares one logit a letter, so more than one token cannot be."""
        ids = [self._tokenise(letter) for letter in LETTERS]
        split = [letter for letter, own in zip(LETTERS, ids, strict=True) if len(own) != 1]
        if split:
            raise VersionError(f"{folder}/tokenizer.json: {', '.join(split)} must each be a single token")
        return tuple(own[0] for own in ids)

    def _stop_ids(self, folder: Path) -> frozenset[int]:
        stops: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            if (folder / name).is_file():
                eos = read_json(folder / name).get("eos_token_id")
                stops.update(eos if isinstance(eos, list) else [eos] if eos is not None else [])
        for text in ("<|im_end|>", "<|endoftext|>"):
            token = self._tokenizer.token_to_id(text)
            stops.update([token] if token is not None else [])
        return frozenset(stops)


class _Template:
    """The version's Jinja chat template, in the same sandbox as transformers': a version is data, not code."""

    def __init__(self, folder: Path) -> None:
        from jinja2.exceptions import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        file = folder / "chat_template.jinja"
        source = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
        if not isinstance(source, str):
            raise VersionError(
                f"{folder}: no chat template (chat_template.jinja or tokenizer_config.json); is it an Instruct model?"
            )
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
        environment.globals["raise_exception"] = self._refuse
        self._folder, self._error = folder, TemplateError
        self._special = {
            key: value["content"] if isinstance(value, dict) else value
            for key, value in config.items()
            if key in ("bos_token", "eos_token", "pad_token", "unk_token") and value
        }
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise VersionError(f"{folder}: the chat template does not parse: {error}") from None

    def render(self, messages: list[dict[str, Any]]) -> str:
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._special)
        except self._error as error:
            raise VersionError(f"{self._folder}: the chat template failed: {error}") from None

    def _refuse(self, message: str) -> None:
        raise self._error(message)
