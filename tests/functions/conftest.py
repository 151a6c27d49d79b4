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
def postgresql_url(processes: None) -> Iterator[str]:
    try:
        with postgresql() as url:
            yield url
    except LookupError as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, processes: None) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/loop.db"
    url: str = request.getfixturevalue("postgresql_url")
    made = engine(url)
    with made.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    made.dispose()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Engine]:
    made = engine(database_url)
    migrate(made)
    yield made
    made.dispose()
