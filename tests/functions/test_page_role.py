"""What the page's own role in PostgreSQL may do: read everything, and write what an operator decides."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from function_server import postgresql
from sqlalchemy import Engine, insert, make_url, text, update
from sqlalchemy.exc import ProgrammingError

from functions.database import Base, engine, transaction
from functions.dead_letters.tables import DeadLetterRecord
from functions.drift import baselines
from functions.drift.settings import read_settings
from functions.drift.tables import DriftBaseline
from functions.migrate import PAGE_ROLE, PAGE_WRITES, migrate
from functions.rollout import overrides, store
from functions.rollout.state import Override

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[str]:
    """The URL of a PostgreSQL with the roles and databases that deploy/postgres makes, migrated by their owner."""
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed")
    with ExitStack() as stack:
        try:
            url = make_url(stack.enter_context(postgresql()))
        except LookupError as reason:
            pytest.skip(str(reason))
        place = f"{url.host}:{url.port}"
        script = yaml.safe_load((ROOT / "deploy/postgres/init.yaml").read_text())["data"]["databases.sh"]
        there = {
            "PGHOST": str(url.host),
            "PGPORT": str(url.port),
            "PGUSER": str(url.username),
            "PGDATABASE": "postgres",
        }
        passwords = {f"{name}_PASSWORD": f"{name}-word" for name in ("LOOP", "MLFLOW", "UI")}
        environ = {**os.environ, **there, **passwords}
        done = subprocess.run(["bash", "-e", "-c", script], env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        owner = engine(f"postgresql://loop@{place}/loop")
        migrate(owner)
        migrate(owner)  # again, as at every deployment
        owner.dispose()
        yield place


@pytest.fixture
def page(server: str) -> Iterator[Engine]:
    made = engine(f"postgresql://{PAGE_ROLE}@{server}/loop")
    yield made
    made.dispose()


def refused(page: Engine, statement: str) -> bool:
    try:
        with page.begin() as connection:
            connection.execute(text(statement))
    except ProgrammingError as error:
        return "permission denied" in str(error) or "must be owner" in str(error)
    return False


def test_it_reads_every_table(page: Engine) -> None:
    with page.begin() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(table.select().limit(1)).all()


def test_it_writes_what_an_operator_decides_and_nothing_else(page: Engine) -> None:
    tables: dict[str, Any] = {table.name: table for table in Base.metadata.sorted_tables}
    assert PAGE_WRITES.keys() < tables.keys()
    for name in [*tables, "alembic_version"]:
        writes = PAGE_WRITES.get(name, "")
        column = next(iter(tables[name].columns)).name if name in tables else "version_num"
        assert refused(page, f"DELETE FROM {name}") is ("DELETE" not in writes), name
        assert refused(page, f"UPDATE {name} SET {column} = {column}") is ("UPDATE" not in writes), name
        assert refused(page, f"DROP TABLE {name}"), name
        assert refused(page, f"TRUNCATE {name}"), name
    assert refused(page, "CREATE TABLE mine (n integer)")
    assert refused(page, "INSERT INTO dead_letters DEFAULT VALUES")


def test_an_operators_words_are_stored(page: Engine) -> None:
    with transaction(page) as connection:
        overrides.write(connection, "m", Override("hold", "7", "ann@example.com", 1.0))
        overrides.write(connection, "m", Override("abort", "7", "ann@example.com", 2.0))
        found = overrides.read(connection, "m")
        assert found
        assert (found.action, found.by) == ("abort", "ann@example.com")
        decision = dict.fromkeys(("phase", "generation", "action", "reason"), "") | {"at": 1.0}
        numbers = [store.append_decision(connection, "m", decision)["number"] for _ in range(2)]
        assert numbers[1] > numbers[0]
        connection.execute(update(DeadLetterRecord).values(state="discarded"))


def test_a_baseline_is_taken_back(page: Engine) -> None:
    """Both tables are written: the baseline's row is marked, and a check records who did it."""
    row = {"model": "m", "sequence": 1, "version": "7", "accepted_at": 1.0, "accepted_by": "ann", "since": 0.0}
    with transaction(page) as connection:
        connection.execute(insert(DriftBaseline).values(**row, until=1.0, n=300, reference="{}"))
    settings = read_settings({"MCQA_REGISTERED_MODEL": "m"})
    undone = baselines.undo(page, settings, "7", "ann@example.com", 500.0)
    assert (undone.undone, undone.baseline) == (1, None)


def test_it_does_not_come_into_another_database(server: str) -> None:
    other = engine(f"postgresql://{PAGE_ROLE}@{server}/mlflow")
    with pytest.raises(Exception, match="permission denied for database"), other.connect():
        pass
    other.dispose()
