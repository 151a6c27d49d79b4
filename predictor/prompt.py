"""From a question to token ids, and from letters to token ids.

A version's own chat template frames the question. The text of a question is tokenised separately from the template,
with special tokens read as ordinary text: a choice that contains `<|im_end|>` stays a choice and cannot end the user's
turn. Because the frame is tokenised once, every question starts with the same ids: the shared prefix whose keys and
values the scorer computes once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.question import LETTERS, Question
from predictor.chat_template import ChatTemplate
from predictor.errors import VersionError
from predictor.version_files import has_file, read_json, read_text, short_repr

SYSTEM = (
    "You are an expert programmer. Answer the multiple-choice question with the letter of the one correct choice "
    "and nothing else."
)
EXPLAIN = "Explain step by step, in a few sentences, why {letter} is the correct choice."

MAX_SYSTEM = 65_536
MAX_TOKENIZER_BYTES = 256 << 20

# Private-use characters, which no template and no tokenizer gives a meaning.
_SLOT = "\ue000slot\ue001"


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a version was trained to read questions; `prompt.json` in its folder, or these defaults.

    `letter-first` writes `A. choice`, as large instruction models expect. `letter-last` writes `choice A`: a small
    model finds the letter right after the text it has just matched.
    """

    system: str = SYSTEM
    layout: str = "letter-first"

    @classmethod
    def read(cls, folder: Path) -> PromptFormat:
        path = folder / "prompt.json"
        if not has_file(path):
            return cls()
        raw = read_json(path)
        layout, system = raw.get("layout", "letter-first"), raw.get("system", SYSTEM)
        if not isinstance(layout, str) or layout not in _LAYOUTS:
            raise VersionError(f"{path}: layout must be one of {', '.join(_LAYOUTS)}, found {short_repr(layout)}")
        if not isinstance(system, str) or len(system) > MAX_SYSTEM or not _is_text(system):
            raise VersionError(f"{path}: system must be a string of at most {MAX_SYSTEM:,} characters")
        return cls(system, layout)

    def text(self, question: Question) -> str:
        """The user's turn as text, with the question normalised."""
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
        self._folder = folder
        self.format = PromptFormat.read(folder)
        template = ChatTemplate(folder)
        system = [{"role": "system", "content": self.format.system}] if self.format.system else []
        ask = [*system, {"role": "user", "content": _SLOT}]
        explain = [*ask, {"role": "assistant", "content": _SLOT}, {"role": "user", "content": _SLOT}]
        # A template that needs its own process is rendered while the tokenizer is read.
        with ThreadPoolExecutor(1) as renderer:
            rendering = renderer.submit(template.render, (ask, explain))
            self._tokenizer = _tokenizer(folder)
        asked, explained = rendering.result()
        self._ask = self._frame(asked, slots=1)
        self._explain = self._frame(explained, slots=3)
        self.stop_ids = self._stop_ids(folder)
        # From here on the text of special tokens is ordinary text.
        self._tokenizer.encode_special_tokens = True
        self.letter_ids = self._letters(folder)

    @property
    def prefix(self) -> tuple[int, ...]:
        """The ids that every prompt starts with."""
        return self._ask[0]

    def encode(self, question: Question) -> tuple[int, ...]:
        """The whole prompt; the next token is the letter."""
        return self._fill(self._ask, (self.format.text(question),))

    def encode_explain(self, question: Question, letter: str) -> tuple[int, ...]:
        """The prompt, the letter as the assistant's turn, and the request to explain it."""
        return self._fill(self._explain, (self.format.text(question), letter, EXPLAIN.format(letter=letter)))

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    @property
    def vocab_size(self) -> int:
        size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        return size

    def _tokenise(self, text: str) -> tuple[int, ...]:
        try:
            return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
        except BaseException as error:  # noqa: BLE001 - a panic of the Rust code is not an Exception
            raise _tokenizer_error(self._folder, error) from None

    def _frame(self, rendered: str, slots: int) -> tuple[tuple[int, ...], ...]:
        parts = rendered.split(_SLOT)
        if len(parts) != slots + 1:
            shown = f"{len(parts) - 1} of {slots} messages"
            raise VersionError(f"{self._folder}: the chat template shows {shown}; it must show each once")
        return tuple(self._tokenise(part) for part in parts)

    def _fill(self, frame: tuple[tuple[int, ...], ...], texts: Sequence[str]) -> tuple[int, ...]:
        ids = list(frame[0])
        for text, after in zip(texts, frame[1:], strict=True):
            ids += self._tokenise(text)
            ids += after
        return tuple(ids)

    def _letters(self, folder: Path) -> tuple[int, ...]:
        """Each letter's single token id: the scorer compares one logit per letter."""
        ids = [self._tokenise(letter) for letter in LETTERS]
        split = [letter for letter, own in zip(LETTERS, ids, strict=True) if len(own) != 1]
        if split:
            raise VersionError(f"{folder}/tokenizer.json: {', '.join(split)} must each be a single token")
        return tuple(own[0] for own in ids)

    def _stop_ids(self, folder: Path) -> frozenset[int]:
        stops: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            if has_file(folder / name):
                eos = read_json(folder / name).get("eos_token_id")
                ids = eos if isinstance(eos, list) else [eos] if eos is not None else []
                if not all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in ids):
                    raise VersionError(f"{folder}/{name}: eos_token_id must be token ids, found {short_repr(eos)}")
                stops.update(ids)
        for text in ("<|im_end|>", "<|endoftext|>"):
            token = self._tokenizer.token_to_id(text)
            stops.update([token] if token is not None else [])
        return frozenset(stops)


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not has_file(path):
        raise VersionError(f"{folder}: no tokenizer.json; save the fast tokenizer")
    text = read_text(path, MAX_TOKENIZER_BYTES)
    try:
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_truncation()
        tokenizer.no_padding()
    except BaseException as error:  # noqa: BLE001 - a panic of the Rust code is not an Exception
        raise _tokenizer_error(folder, error) from None
    return tokenizer


def _is_text(value: str) -> bool:
    """Whether it is valid Unicode: JSON can escape half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tokenizer_error(folder: Path, error: BaseException) -> BaseException:
    """tokenizers raises bare Exception, and a panic of its Rust code is not even an Exception."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return error
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return VersionError(f"{folder}/tokenizer.json: {text}")
