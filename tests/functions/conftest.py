"""A database of each kind that the functions know, freshly migrated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from function_server import postgresql
from sqlalchemy import Engine, text

from functions.database import engine
from functions.migrate import migrate


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    try:
        with postgresql() as url:
            yield url
    except LookupError as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        made = engine(f"sqlite:///{tmp_path}/loop.db")
    else:
        made = engine(request.getfixturevalue("postgresql_url"))
        with made.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    migrate(made)
    yield made
    made.dispose()
