"""A function whose database and log lie on a full disk: it refuses with what the broker repeats, and loses nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import Disk, disk
from function_server import FunctionServer, function

from common.event_types import FEEDBACK
from functions.database import engine
from functions.migrate import migrate

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
def place(tmp_path: Path, processes: None) -> Iterator[Disk]:
    with disk(tmp_path / "disk", "4m") as made:
        yield made


def say(server: FunctionServer, id: str, size: int) -> int:
    body = {"answer_id": id, "answer": "A", "note": "x" * size}
    return server.post(body, id=f"{id}-feedback", source="/test", type=FEEDBACK).status_code


def test_collect_on_a_full_disk(place: Disk) -> None:
    path = place.path / "loop.db"
    database = engine(f"sqlite:///{path}")
    migrate(database)
    database.dispose()
    with function("collect", place.path / "collect.log", {"MCQA_DATABASE_URL": f"sqlite:///{path}"}) as server:
        assert say(server, "before", 10) == 202
        kept, refused = ["before"], 0
        with place.full():
            for number in range(500):  # some room may be left in the log's pages and the database's
                status = say(server, f"{number}", 10)
                assert status in (202, 503)
                if status == 503:
                    refused += 1
                else:
                    kept.append(f"{number}")
                if refused > 5:
                    break
            assert refused
        assert say(server, "after", 10) == 202
        kept.append("after")
    with sqlite3.connect(path) as db:
        assert {row[0] for row in db.execute("SELECT answer_id FROM feedback")} == set(kept)
