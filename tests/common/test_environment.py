"""Settings from environment variables: what is read, and what each mistake says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from common.environment import flag, number, text, whole
from common.errors import SettingError


@pytest.mark.parametrize(
    ("read", "given", "value"),
    [
        (text, " a ", "a"),
        (lambda env, name: text(env, name, "b"), "", "b"),
        (lambda env, name: number(env, name, 1.5), " ", 1.5),
        (lambda env, name: number(env, name, 1.5), "2.5", 2.5),
        (lambda env, name: whole(env, name, 3), "4", 4),
        (flag, "", False),
        (lambda env, name: flag(env, name, True), "", True),
        (flag, "Yes", True),
        (flag, "on", True),
        (flag, "1", True),
        (lambda env, name: flag(env, name, True), "FALSE", False),
        (flag, "off", False),
    ],
)
def test_values(read: Callable[[Any, str], Any], given: str, value: Any) -> None:
    assert read({"NAME": given}, "NAME") == value


@pytest.mark.parametrize(
    ("read", "given", "message"),
    [
        (text, " ", "NAME is not set and has no default"),
        (lambda env, name: number(env, name, 1.0), "nan", "NAME must be a number at least 0, found 'nan'"),
        (lambda env, name: number(env, name, 1.0, 0, 1), "2", "NAME must be a number within 0..1, found '2'"),
        (lambda env, name: whole(env, name, 1), "1.5", "NAME must be a whole number, found '1.5'"),
        (lambda env, name: whole(env, name, 1), "many", "NAME must be a number at least 0, found 'many'"),
        (flag, "maybe", "NAME must be true or false, found 'maybe'"),
    ],
)
def test_mistakes(read: Callable[[Any, str], Any], given: str, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        read({"NAME": given}, "NAME")
