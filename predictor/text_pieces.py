"""A text that grows token by token, handed over in pieces that never have to be taken back."""

from __future__ import annotations

from collections.abc import Callable

_INCOMPLETE = "\ufffd"
"""What a decoder writes for the bytes of a character whose other bytes are in the next token."""


class TextPieces:
    """Gives `on_text` what is new and final of a text; all pieces together are the text without white space around it.

    Every call has the whole text so far, because a decoder may write the same token differently after another one:
    decoding 512 tokens again takes 0.1 ms, a forward pass a hundred times that. White space and incomplete characters
    at the end are held back until something follows.
    """

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._handed_over = ""

    def grow(self, text: str) -> None:
        self._hand_over(text.lstrip().rstrip(_INCOMPLETE).rstrip())

    def finish(self, text: str) -> None:
        """`text` is the whole text, without white space around it."""
        self._hand_over(text)

    def _hand_over(self, text: str) -> None:
        # A decoder that changed its mind about what was handed over cannot be followed here; the result has the text.
        if len(text) > len(self._handed_over) and text.startswith(self._handed_over):
            piece = text[len(self._handed_over) :]
            self._handed_over = text
            self._on_text(piece)
