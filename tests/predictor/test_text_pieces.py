"""A growing text in pieces: nothing is taken back, no character is split, and together they are the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictor.prompt import PromptEncoder
from predictor.text_pieces import TextPieces


def pieces(*texts: str) -> list[str]:
    got: list[str] = []
    writer = TextPieces(got.append)
    for text in texts:
        writer.grow(text)
    writer.finish(texts[-1].strip())
    return got


@pytest.mark.parametrize(
    ("texts", "got"),
    [
        (("a", "ab", "abc"), ["a", "b", "c"]),
        ((" \n a", " \n a ", " \n a  b"), ["a", "  b"]),  # around the text nothing, inside it everything
        (("a\ufffd", "a\ufffd\ufffd", "aé"), ["a", "é"]),  # the bytes of one character
        (("a", "a\ufffd"), ["a", "\ufffd"]),  # cut in the middle of one: the text has it, too
        (("", " ", "\n"), []),
        (("ab", "xyz", "xyz!"), ["ab"]),  # a decoder that changed its mind
    ],
)
def test_what_is_handed_over(texts: tuple[str, ...], got: list[str]) -> None:
    assert pieces(*texts) == got


@pytest.mark.parametrize("text", ["Vì 7 // 2 là 3. 🐍🐍 — naïve e\u0301 ﷽ 👩‍👩‍👧 中文\n\tx = 1", "🐍" * 30])
def test_no_character_of_a_byte_level_tokenizer_is_split(random_version: Path, text: str) -> None:
    encoder = PromptEncoder(random_version)
    ids = encoder._tokenise(text)
    whole = encoder.decode(ids)
    assert len(ids) > len(whole), "the tokenizer has learned these characters as one token each: choose others"
    got = pieces(*[encoder.decode(ids[: count + 1]) for count in range(len(ids))])
    assert "".join(got) == whole.strip()
    assert not any("\ufffd" in piece for piece in got)
