"""Who may ask for a look, and with what: the decision without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functions.rollout.settings import read_settings
from functions.rollout.webhook import signature, verify

NOW = 1_772_366_400.0
CALL: dict[str, Any] = {"entity": "model_version_alias", "action": "created", "data": {"name": "m"}}
NEW, OLD = "new", "old"


def verdict(body: bytes, secret: str = NEW, secrets: tuple[str, ...] = (NEW, OLD)) -> tuple[int, str]:
    headers = {
        "X-MLflow-Delivery-Id": "d",
        "X-MLflow-Timestamp": str(int(NOW)),
        "X-MLflow-Signature": signature(secret, "d", str(int(NOW)), body),
    }
    actual = verify(headers, body, secrets, "m", 600.0, NOW)
    assert actual.reconcile == (actual.status == 202)
    assert len(actual.message.splitlines()) == 1
    return actual.status, actual.message


@pytest.mark.parametrize(
    ("secret", "secrets", "status"),
    [
        (NEW, (NEW,), 202),
        (NEW, (NEW, OLD), 202),
        (OLD, (NEW, OLD), 202),
        (OLD, (NEW,), 401),
        ("other", (NEW, OLD), 401),
        ("", (NEW, OLD), 401),
        (NEW, (), 503),
        ("é", ("é",), 202),
        ("\udcff", ("\udcff",), 202),  # a byte of the environment that is no UTF-8
    ],
)
def test_secrets(secret: str, secrets: tuple[str, ...], status: int) -> None:
    assert verdict(json.dumps(CALL).encode(), secret, secrets)[0] == status


ODD: list[Any] = [
    [],
    ["model_version"],
    [[[]]],
    {},
    {"entity": "model_version"},
    0,
    1.5,
    -1,
    True,
    False,
    None,
    "x" * 9,
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: json.dumps(value))
@pytest.mark.parametrize("what", ["entity", "action", "data", "name", "the body"])
def test_a_signed_body_of_any_shape_is_answered_in_words(what: str, value: Any) -> None:
    call: Any = {**CALL, what: value}
    if what == "name":
        call = {**CALL, "data": {"name": value}}
    elif what == "the body":
        call = value
    status, reason = verdict(json.dumps(call).encode())
    if not isinstance(value, str):
        assert status == 400
        assert reason.startswith("the body is not an MLflow webhook: ")
        assert what in ("data", "name", "the body") or f"{what} must be a string, found " in reason
    else:
        expected = {"entity": 200, "action": 202, "data": 400, "name": 404, "the body": 400}
        assert status == expected[what]


def test_what_is_missing_is_odd_too() -> None:
    for what in ("entity", "action", "data"):
        assert verdict(json.dumps({k: v for k, v in CALL.items() if k != what}).encode())[0] == 400


def test_a_long_name_is_cut_off() -> None:
    status, reason = verdict(json.dumps({**CALL, "entity": "\ud800" * 9_000}).encode())
    assert status == 200
    assert len(reason) < 200
    assert reason.isascii()


@pytest.mark.parametrize(
    ("environ", "secrets"),
    [
        ({}, ()),
        ({"MCQA_WEBHOOK_SECRET": "a"}, ("a",)),
        ({"MCQA_WEBHOOK_SECRET": "a", "MCQA_WEBHOOK_SECRET_PREVIOUS": ""}, ("a",)),
        ({"MCQA_WEBHOOK_SECRET": "a", "MCQA_WEBHOOK_SECRET_PREVIOUS": "b"}, ("a", "b")),
        ({"MCQA_WEBHOOK_SECRET_PREVIOUS": "b"}, ("b",)),
    ],
)
def test_the_secrets_of_the_environment(environ: dict[str, str], secrets: tuple[str, ...]) -> None:
    assert read_settings(environ).webhook_secrets == secrets
