"""Storage that cannot be written for a while: what it is called, who is told, and that all goes on afterwards."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disks import Disk, disk, locked

from local.sqlite import SqliteFile
from local.storage import (
    LossyStream,
    StorageError,
    StorageMonitor,
    backoff_delays,
    check_writable,
    failure_code,
    retry_while_unwritable,
)

TABLES = "CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY, content BLOB);"


@pytest.fixture
def place(tmp_path: Path, processes: None) -> Iterator[Disk]:
    with disk(tmp_path / "disk", "4m") as made:
        yield made


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "full"), (errno.EDQUOT, "quota"), (errno.EFBIG, "quota"), (errno.EROFS, "read-only"),
        (errno.EIO, "io-error"), (errno.EMFILE, "open-files"), (errno.ENFILE, "open-files"), (errno.ENOENT, "missing"),
        (errno.EACCES, "refused"), (errno.ECONNREFUSED, None), (errno.EPIPE, None),
    ],
)  # fmt: skip
def test_the_kernels_errors(number: int, code: str | None) -> None:
    assert failure_code(OSError(number, "told")) == code


def test_other_errors_are_no_trouble_with_storage() -> None:
    for error in (
        ValueError("x"),
        sqlite3.OperationalError("no such table: x"),
        sqlite3.IntegrityError("UNIQUE"),
        None,
    ):
        assert failure_code(error) is None


def test_pauses_grow_to_a_bound() -> None:
    pause = backoff_delays(0.1, 1.0)
    assert [pause() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@pytest.mark.usefixtures("processes")
def test_a_full_disk_a_removed_folder_no_inodes(place: Disk, tmp_path: Path) -> None:
    assert check_writable(place.path) is None
    with place.full():
        assert check_writable(place.path) == "full"
    folder = place.path / "inside"
    assert check_writable(folder) is None  # made again where it is gone
    with disk(tmp_path / "few", "4m", inodes=3) as few:
        (few.path / "one").touch()
        (few.path / "two").touch()
        assert check_writable(few.path) == "full"
    assert [path.name for path in place.path.iterdir()] == ["inside"]


@pytest.mark.usefixtures("processes")
def test_the_watch_names_who_cannot_write_and_since_when(place: Disk, tmp_path: Path) -> None:
    watch = StorageMonitor([("broker", place.path / "broker"), ("mlflow", tmp_path / "mlflow")], seconds=0.02)
    began = time.time()
    watch.start()
    try:
        assert watch.failures() == []
        with place.full():
            moment = time.monotonic()
            while not watch.failures():
                time.sleep(0.01)
            (actual,) = watch.failures()
            assert (actual.part, actual.path, actual.code) == ("broker", str(place.path / "broker"), "full")
            assert began <= actual.since <= time.time()
            assert watch.failed_since(moment)
        while watch.failures():
            time.sleep(0.01)
        assert watch.failed_since(moment)
        assert not watch.failed_since(time.monotonic())
    finally:
        watch.stop()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", ["full", "locked"])
def test_a_database_rolls_back_tells_and_goes_on(kind: str, place: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.sqlite.BUSY_SECONDS", 0.2)
    file = SqliteFile(place.path / "things.sqlite", TABLES)
    written = []

    def write(name: str) -> None:
        with file.writing():
            file.execute("INSERT INTO things VALUES (?, ?)", name, bytes(20_000))
        written.append(name)

    def write_many() -> None:
        for number in range(1000):
            write(f"{number}")

    write("before")
    with place.full() if kind == "full" else locked(place.path / "things.sqlite"):
        with pytest.raises(StorageError) as raised:
            write_many()
        assert raised.value.code == kind
        assert file.storage_failure is not None
        assert (file.storage_failure.code, file.storage_failure.path) == (kind, str(place.path / "things.sqlite"))
        with pytest.raises(StorageError):  # not "a transaction within a transaction"
            write("again")
        file.check()
        assert file.storage_failure is not None
        assert {row[0] for row in file.fetch_all("SELECT name FROM things")} == set(written)  # reading goes on
    file.check()
    assert file.storage_failure is None
    write("after")
    assert {row[0] for row in file.fetch_all("SELECT name FROM things")} == set(written)
    file.close()


def test_a_mistake_in_a_transaction_stays_one(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "things.sqlite", TABLES)
    with pytest.raises(sqlite3.OperationalError, match="no such table"), file.writing():
        file.execute("INSERT INTO absent VALUES (1)")
    assert file.storage_failure is None
    file.close()


@pytest.mark.usefixtures("processes")
def test_patience_lasts_until_there_is_room(place: Disk) -> None:
    path = place.path / "note"
    place.fill()
    threading.Timer(0.5, place.empty).start()
    retry_while_unwritable(lambda: path.write_bytes(bytes(100_000)), "the note")
    assert path.stat().st_size == 100_000
    with pytest.raises(ZeroDivisionError):
        retry_while_unwritable(lambda: 1 // 0, "a mistake")
    with pytest.raises(FileNotFoundError):
        retry_while_unwritable((place.path / "nothing").read_bytes, "a mistake")


@pytest.mark.usefixtures("processes")
def test_a_log_on_a_full_disk_does_not_end_who_writes_it(place: Disk) -> None:
    program = """
import sys
from local.storage import tolerate_output_errors
from functions.http import log
if "lossy" in sys.argv: tolerate_output_errors()
log("f", "x" * 100_000)
if "lossy" in sys.argv: print("y" * 100_000, flush=True)
open(sys.argv[1], "w").close()
"""
    done = place.path.parent / "done"
    with place.full(), (place.path / "log").open("wb") as log:
        for mode in ("lossy", "plain"):
            command = [sys.executable, "-u", "-c", program, str(done), mode]
            assert subprocess.run(command, stdout=log, stderr=log, check=False).returncode == 0
            done.unlink()


def test_lossy_output_is_output(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        print("told", file=LossyStream(file), flush=True)
        assert LossyStream(file).fileno() == file.fileno()
    assert (tmp_path / "out").read_text() == "told\n"


@pytest.mark.usefixtures("processes")
def test_what_a_full_disk_left_half_written_is_taken_away(place: Disk) -> None:
    from local.platform.settings import write_json

    write_json(place.path / "status.json", {"old": 1})
    with place.full(), pytest.raises(OSError, match="No space"):
        write_json(place.path / "status.json", {"new": "x" * 200_000})
    assert (place.path / "status.json").read_text() == '{\n "old": 1\n}'
    assert [path.name for path in place.path.iterdir()] == ["status.json"]
    shutil.rmtree(place.path, ignore_errors=True)


def test_a_database_that_is_removed_while_it_is_open_is_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    file, other = (SqliteFile(folder / "things.sqlite", TABLES) for _ in range(2))
    removals: list[Callable[[Path], None]] = [shutil.rmtree, lambda path: (path / "things.sqlite").unlink()]
    for number, remove in enumerate(removals):
        file.execute("INSERT INTO things VALUES (?, 'x')", f"before {number}")
        remove(folder)
        for item in (file, other):
            with item.writing():
                item.execute("INSERT OR IGNORE INTO things VALUES (?, 'x')", f"after {number}")
    names = {"before 0", "after 0", "before 1", "after 1"}
    for item in (file, other):
        assert {row[0] for row in item.fetch_all("SELECT name FROM things")} == names
        item.close()
    with sqlite3.connect(folder / "things.sqlite") as third:
        assert {row[0] for row in third.execute("SELECT name FROM things")} == names
        assert third.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert (folder / "things.sqlite").stat().st_mode & 0o777 == 0o600
