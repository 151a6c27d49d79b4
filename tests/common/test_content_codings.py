"""Content codings undone within bounds."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import content_codings
from common.content_codings import CodingError, DecodedTooLargeError, UnknownCodingError, decode, read_codings, sniff

BODY = b'{"instances": [1, 2, 3]}' * 10
KIB = 1024


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("gzip", ("gzip",)),
        ("GZip", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("deflate", ("deflate",)),
        ("identity", ()),
        ("", ()),
        ("identity, gzip", ("gzip",)),
        (" deflate ,gzip", ("deflate", "gzip")),
    ],
)
def test_what_the_header_names(header: str, found: tuple[str, ...]) -> None:
    assert read_codings(header) == found


@pytest.mark.parametrize("header", ["br", "zstd", "compress", "gzip;q=1", "gzip deflate", "gzip, br", "x-deflate", "*"])
def test_an_unknown_coding(header: str) -> None:
    with pytest.raises(UnknownCodingError, match="is not known; send gzip or deflate"):
        read_codings(header)


def test_too_many_codings() -> None:
    with pytest.raises(UnknownCodingError, match="names 3 codings"):
        read_codings("gzip, deflate, gzip")


@pytest.mark.parametrize(
    ("coded", "applied"),
    [
        (gzip.compress(BODY), ("gzip",)),
        (gzip.compress(BODY, 0), ("gzip",)),
        (gzip.compress(BODY[:50]) + gzip.compress(b"") + gzip.compress(BODY[50:]), ("gzip",)),
        (zlib.compress(BODY), ("deflate",)),
        (zlib.compress(BODY, 9), ("deflate",)),
        (zlib.compress(BODY, 0), ("deflate",)),
        (raw_deflate(BODY), ("deflate",)),
        (gzip.compress(zlib.compress(BODY)), ("deflate", "gzip")),
        (zlib.compress(gzip.compress(BODY)), ("gzip", "deflate")),
        (BODY, ()),
    ],
)
def test_decode(coded: bytes, applied: tuple[str, ...]) -> None:
    assert decode(coded, applied, len(BODY)) == BODY
    if applied:
        with pytest.raises(DecodedTooLargeError, match=f"exceeds the limit of {len(BODY) - 1} bytes"):
            decode(coded, applied, len(BODY) - 1)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("body", [b"", b"x", os.urandom(300 * KIB), bytes(3_000_000)], ids=len)
def test_bodies_of_any_size(coding: str, body: bytes) -> None:
    coded = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    assert decode(coded, (coding,), len(body)) == body
    assert sniff(coded) == (coding,)


@pytest.mark.parametrize(
    ("coded", "coding", "message"),
    [
        (b"", "gzip", "ends within its gzip stream"),
        (b"", "deflate", "ends within its deflate stream"),
        (b"{}", "gzip", "is not a gzip stream"),
        (b'{"instances": []}', "deflate", "deflate stream"),
        (gzip.compress(BODY)[:-1], "gzip", "ends within its gzip stream"),
        (gzip.compress(BODY)[:9], "gzip", "ends within its gzip stream"),
        (gzip.compress(BODY)[:-8], "gzip", "ends within its gzip stream"),
        (zlib.compress(BODY)[:-4], "deflate", "ends within its deflate stream"),
        (raw_deflate(BODY)[:-1], "deflate", "ends within its deflate stream"),
        (gzip.compress(BODY)[:-8] + bytes(8), "gzip", "is not a gzip stream: incorrect data check"),
        (zlib.compress(BODY)[:-4] + bytes(4), "deflate", "is not a deflate stream: incorrect data check"),
        (gzip.compress(BODY) + b"rest", "gzip", "4 bytes behind its gzip stream"),
        (gzip.compress(BODY) + bytes(512), "gzip", "512 bytes behind its gzip stream"),
        (gzip.compress(BODY) + b"\x1f\x8b\x08", "gzip", "ends within its gzip stream"),
        (zlib.compress(BODY) + b"x", "deflate", "1 bytes behind its deflate stream"),
        (zlib.compress(BODY) + zlib.compress(BODY), "deflate", "behind its deflate stream"),
        (zlib.compress(BODY), "gzip", "is not a gzip stream: incorrect header check"),
        (gzip.compress(b"") * (content_codings.MOST_MEMBERS + 1), "gzip", "more than 1024 members"),
        (b"\x78\xbb\x00\x00\x00\x00", "deflate", "is not a deflate stream"),
    ],
)
def test_what_is_no_such_stream(coded: bytes, coding: str, message: str) -> None:
    with pytest.raises(CodingError, match=message):
        decode(coded, (coding,), 1024 * KIB)


@pytest.mark.parametrize("applied", [("gzip",), ("gzip", "gzip")])
def test_a_bomb_costs_no_more_than_the_limit(applied: tuple[str, ...]) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(KIB * KIB)) for _ in range(200)) + packer.flush()
    for _ in applied[1:]:
        bomb = gzip.compress(bomb)
    tracemalloc.start()
    with pytest.raises(DecodedTooLargeError):
        decode(bomb, applied, 512 * KIB)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * KIB * KIB


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(body=st.binary(max_size=200), coding=st.sampled_from(["gzip", "deflate"]))
def test_any_bytes(body: bytes, coding: str) -> None:
    with contextlib.suppress(CodingError):
        assert len(decode(body, (coding,), 100)) <= 100


@given(
    st.text(max_size=200),
    st.sampled_from([b"", b" ", b"\r\n\t", b"\xef\xbb\xbf"]),
    st.integers(0, 9),
    st.integers(1, 9),
)
def test_a_bare_stream_shows_that_it_holds_an_object(text: str, before: bytes, level: int, memory: int) -> None:
    body = before + json.dumps({"instances": [text]}).encode()
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, memory)
    assert sniff(packer.compress(body) + packer.flush()) == ("deflate",)
    assert sniff(body) == ()


def test_what_is_no_object_shows_no_coding() -> None:
    for body in (b"# HELP x", b"<html>", b"ok", b"\x00", b"\xff" * 9, b"\x0d", raw_deflate(b"text")):
        assert sniff(body) == ()


def test_json_shows_no_coding() -> None:
    for body in (b"", b"{}", b" [", b'"x"', b"\n{", b"\xef\xbb\xbf{", b"x", b"8\x1f"):
        assert sniff(body) == () or body[:1] not in b' \n\t[{"0123456789-tfn\xef'
