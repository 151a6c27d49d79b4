"""RFC 3339's date-times: one reader for the broker and the functions."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rfc3339 import is_date_time, unix_seconds

MOMENTS = [
    ("1970-01-01T00:00:00Z", 0.0),
    ("1969-12-31T23:59:59Z", -1.0),
    ("2018-04-05T17:31:00Z", 1522949460.0),
    ("2018-04-05t17:31:00z", 1522949460.0),
    ("2018-04-05T17:31:00+00:00", 1522949460.0),
    ("2018-04-05T17:31:00-00:00", 1522949460.0),
    ("2018-04-05T18:31:00+01:00", 1522949460.0),
    ("2018-04-05T23:01:00+05:30", 1522949460.0),
    ("2018-04-04T17:32:00-23:59", 1522949460.0),
    ("2018-04-06T17:30:00+23:59", 1522949460.0),
    ("2018-04-05T17:31:00.5Z", 1522949460.5),
    ("2018-04-05T17:31:00.000000000Z", 1522949460.0),
    ("2018-04-05T17:31:00.1234567890123456789012345Z", 1522949460.1234567),
    ("2018-04-05T17:31:00." + "0" * 2000 + "Z", 1522949460.0),
    ("2016-02-29T00:00:00Z", 1456704000.0),
    ("2016-12-31T23:59:60Z", 1483228800.0),
    ("2016-12-31T23:59:60.25Z", 1483228800.25),
    ("2016-12-31T15:59:60-08:00", 1483228800.0),
    ("2017-01-01T05:29:60+05:30", 1483228800.0),
    ("9999-12-31T23:59:60Z", 253402300800.0),
    ("0001-01-01T00:00:00+12:00", -62135640000.0),
    ("0000-01-01T00:00:00Z", -62167219200.0),
    ("0000-02-29T00:00:00Z", -62162121600.0),
    ("2099-01-01T00:00:00Z", 4070908800.0),
]

NONE = [
    "",
    "2018-04-05",
    "17:31:00Z",
    "2018-04-05T17:31:00",
    "2018-04-05 17:31:00Z",
    "2018-04-05T17:31Z",
    "20180405T173100Z",
    "2018-095T17:31:00Z",
    "2018-W14-4T17:31:00Z",
    "2018-04-05T17:31:00.Z",
    "2018-04-05T17:31:00,5Z",
    "2018-04-05T17:31:00+0100",
    "2018-04-05T17:31:00+01",
    "2018-04-05T17:31:00+24:00",
    "2018-04-05T17:31:00+01:60",
    "2018-04-05T17:31:00 +01:00",
    "2018-04-05T17:31:00ZZ",
    "2018-04-05T17:31:00Z\n",
    " 2018-04-05T17:31:00Z",
    "2018-04-05T24:00:00Z",
    "2018-04-05T17:60:00Z",
    "2018-04-05T17:31:61Z",
    "2018-04-05T17:31:60Z",
    "2016-12-31T22:59:60Z",
    "2016-12-31T23:59:60+01:00",
    "2018-02-29T00:00:00Z",
    "2018-04-31T00:00:00Z",
    "2018-00-05T00:00:00Z",
    "2018-13-05T00:00:00Z",
    "2018-04-00T00:00:00Z",
    "18-04-05T17:31:00Z",
    "12018-04-05T17:31:00Z",
    "-2018-04-05T17:31:00Z",
    "2018-04-0٥T17:31:00Z",
    "２018-04-05T17:31:00Z",
    "1522949460",
    "yesterday",
]


@pytest.mark.parametrize(("text", "seconds"), MOMENTS)
def test_moments(text: str, seconds: float) -> None:
    assert unix_seconds(text) == pytest.approx(seconds, abs=1e-6)
    assert is_date_time(text)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unix_seconds(text)
    assert not is_date_time(text)


@given(st.datetimes(), st.integers(-1439, 1439))
def test_every_date_time_is_pythons(moment: datetime, offset: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017
    assert unix_seconds(aware.isoformat()) == pytest.approx((aware - epoch).total_seconds(), abs=1e-4)


@pytest.mark.usefixtures("processes")
def test_the_module_brings_nothing_along() -> None:
    """The broker imports it at every start."""
    code = "import sys, common.rfc3339; print({m.partition('.')[0] for m in sys.modules} & {'flask', 'cloudevents'})"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout.strip() == "set()"
