"""A Trigger's filters: which events pass, and what is wrong with an invalid one."""

from __future__ import annotations

from typing import Any

import pytest
from broker_events import EVENT

from local.broker.errors import FieldError
from local.broker.filters import parse_filters


@pytest.mark.parametrize(
    ("spec", "passes"),
    [
        ({}, True),
        ({"filter": {}}, True),
        ({"filter": {"attributes": {"type": "dev.cdeventsx.mcqa-drift.detected"}}}, True),
        ({"filter": {"attributes": {"type": "dev.cdeventsx.mcqa-drift.checked"}}}, False),
        ({"filter": {"attributes": {"subject": "", "source": "/mcqa/predictor"}}}, True),
        ({"filter": {"attributes": {"missing": ""}}}, False),
        ({"filter": {"attributes": {"flag": "true", "count": "7"}}}, True),
        ({"filter": {"attributes": {"type": "other"}}, "filters": [{"exact": {"id": "1"}}]}, True),
        ({"filter": {"attributes": {"type": "other"}}, "filters": []}, False),
        ({"filters": [{"exact": {"id": "1"}}, {"exact": {"id": "2"}}]}, False),
        ({"filters": [{"exact": {"id": "1", "subject": "coding-mcqa"}}]}, True),
        ({"filters": [{"prefix": {"type": "dev.cdeventsx."}}]}, True),
        ({"filters": [{"prefix": {"missing": "x"}}]}, False),
        ({"filters": [{"suffix": {"type": ".detected"}}]}, True),
        ({"filters": [{"suffix": {"type": ".checked"}}]}, False),
        ({"filters": [{"any": [{"exact": {"id": "2"}}, {"suffix": {"type": ".detected"}}]}]}, True),
        ({"filters": [{"any": [{"exact": {"id": "2"}}, {"exact": {"id": "3"}}]}]}, False),
        ({"filters": [{"all": [{"exact": {"id": "1"}}, {"prefix": {"source": "/mcqa"}}]}]}, True),
        ({"filters": [{"all": [{"exact": {"id": "1"}}, {"prefix": {"source": "/x"}}]}]}, False),
        ({"filters": [{"not": {"exact": {"id": "2"}}}]}, True),
        ({"filters": [{"not": {"exact": {"missing": "2"}}}]}, True),
        ({"filters": [{"not": {"not": {"exact": {"id": "1"}}}}]}, True),
        ({"filters": [{"cesql": "type LIKE '%.detected' AND count > 5"}]}, True),
        ({"filters": [{"cesql": "missing = 'x'"}]}, False),
        ({"filters": [{"not": {"cesql": "missing = 'x'"}}]}, True),
        ({"filters": [{"cesql": "subject"}]}, False),
    ],
)
def test_filters(spec: dict[str, Any], passes: bool) -> None:
    assert parse_filters(spec).matches(EVENT) is passes


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"filter": {"attributes": {"Type": "x"}}}, "filter.attributes.Type: must start with a letter"),
        ({"filter": {"attributes": {"count": 7}}}, "filter.attributes.count: must be a string, found int; quote it"),
        ({"filters": {"exact": {}}}, "filters: must be a list of at least one filter"),
        ({"filters": [{}]}, "filters[0]: needs exactly one dialect of exact,"),
        ({"filters": [{"exact": {"id": "1"}, "prefix": {"id": "1"}}]}, "filters[0]: needs exactly one dialect"),
        ({"filters": [{"exakt": {"id": "1"}}]}, "filters[0].exakt: is not a filter dialect; the dialects are exact"),
        (
            {"filters": [{"exact": {"id": ""}}]},
            "filters[0].exact.id: must not be empty; to test for presence use cesql",
        ),
        ({"filters": [{"any": [{"not": {"suffix": {"a_b": "x"}}}]}]}, "filters[0].any[0].not.suffix.a_b: must start"),
        ({"filters": [{"cesql": "a ="}]}, "filters[0].cesql: expected a value at character 3, found the end"),
        ({"filters": [{"cesql": "LEN(id) = 1"}]}, "filters[0].cesql: no function LEN takes 1 arguments; the functions"),
        ({"filters": [{"cesql": 5}]}, "filters[0].cesql: must be a string, found int"),
    ],
)
def test_filter_errors(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_filters(spec)
    assert str(caught.value).startswith(message)


def test_deep_filters_are_refused() -> None:
    nested: Any = {"exact": {"id": "1"}}
    for _ in range(2000):
        nested = {"not": nested}
    with pytest.raises(FieldError, match="nest more than"):
        parse_filters({"filters": [nested]})
