"""Every vector of the CESQL test kit (cloudevents/spec)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from local.broker.cesql import ErrorKind, ParseError, evaluate, parse

TCK = Path(__file__).resolve().parents[4] / "shared" / "reference" / "cesql-tck"
DEFAULT_EVENT = {"specversion": "1.0", "id": "id-1", "source": "http://localhost/source", "type": "a.type"}


class Loader(yaml.SafeLoader):
    """YAML without timestamps: CESQL sees an event's time as a text."""


Loader.yaml_implicit_resolvers = {
    key: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def vectors() -> list[Any]:
    cases = []
    for path in sorted(TCK.glob("*.yaml")):
        suite = yaml.load(path.read_text(), Loader)
        cases += [pytest.param(case, id=f"{path.stem}: {case['name']}") for case in suite["tests"]]
    return cases or [pytest.param(None, marks=pytest.mark.skip(reason="../shared/reference/cesql-tck is absent"))]


@pytest.mark.parametrize("case", vectors())
def test_vector(case: dict[str, Any]) -> None:
    event = {**(case.get("event") or DEFAULT_EVENT), **case.get("eventOverrides", {})}
    text = str(case["expression"]) if not isinstance(case["expression"], bool) else str(case["expression"]).upper()
    try:
        result = evaluate(parse(text), event)
    except ParseError:
        assert case.get("error") == ErrorKind.PARSE.value
        return
    if "result" in case:
        assert result.value == case["result"]
        assert type(result.value) is type(case["result"])
    assert [error.kind.value for error in result.errors] == ([case["error"]] if "error" in case else [])
