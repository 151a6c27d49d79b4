"""What is wrong with one field of a Broker's or Trigger's spec."""

from __future__ import annotations


class FieldError(ValueError):
    """A field is invalid. `field` is its path within the spec."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")
