"""Token files as they should be, and as somebody else may have prepared them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from local import tokens
from local.tokens import TokenError, read_or_create_token, read_token


def test_made_once_for_the_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = read_or_create_token(tmp_path / "a" / "token")
    finally:
        os.umask(before)
    assert read_or_create_token(tmp_path / "a" / "token") == read_token(tmp_path / "a" / "token") == made
    assert len(made) >= 43  # 256 bits
    assert stat.S_IMODE((tmp_path / "a" / "token").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["token"]
    assert read_or_create_token(tmp_path / "b" / "token") != made


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_what_others_can_read_or_write_is_not_used(tmp_path: Path, mode: int) -> None:
    read_or_create_token(tmp_path / "token")
    (tmp_path / "token").chmod(mode)
    with pytest.raises(TokenError, match=f"others can read it .mode {mode:o}.; remove it"):
        read_or_create_token(tmp_path / "token")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    read_or_create_token(tmp_path / "theirs")
    for target in ("theirs", "nothing"):
        (tmp_path / "token").unlink(missing_ok=True)
        (tmp_path / "token").symlink_to(tmp_path / target)
        with pytest.raises(TokenError, match="symbolic link"):
            read_or_create_token(tmp_path / "token")
        assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("content", [b"", b"short", b"two words " * 10, b"\xff" * 40, "é".encode() * 40])
def test_what_is_no_token(tmp_path: Path, content: bytes) -> None:
    tokens.write_private_file(tmp_path / "token", content)
    with pytest.raises(TokenError, match="does not contain a token"):
        read_token(tmp_path / "token")


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("folder", "pipe"):
        with pytest.raises(TokenError, match="not a regular file"):
            read_token(tmp_path / name)
    with pytest.raises(TokenError, match="there is no token"):
        read_token(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    read_or_create_token(tmp_path / "token")
    os.chown(tmp_path / "token", 65534, -1)
    with pytest.raises(TokenError, match="belongs to user 65534"):
        read_token(tmp_path / "token")


def test_where_none_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TokenError, match=r"cannot be created: (File exists|Not a directory)"):
        read_or_create_token(tmp_path / "file" / "token")
    with pytest.raises(TokenError, match="not used: Not a directory"):
        read_token(tmp_path / "file" / "token")
