"""`python -m functions.migrate`: brings the database of MCQA_DATABASE_URL to the newest schema. Safe to run again.

Run once before the functions start, by whoever starts them (a Job on a cluster): in a function, every cold start would
import Alembic.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from functions.database import connect

MIGRATIONS = Path(__file__).parent / "migrations"


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(engine: Engine, revision: str = "head") -> None:
    """Upgrades to a revision in one transaction; two at once wait for each other."""
    config = configuration()
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # The driver starts no transaction for DDL, and others may be migrating: wait for a minute, not a moment.
            connection.exec_driver_sql("PRAGMA busy_timeout = 60000")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('coding-mcqa migrations'))")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def main() -> int:
    try:
        migrate(connect(os.environ))
    except ValueError as error:
        print(f"functions.migrate: {error}", file=sys.stderr)
        return 2
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        print(f"functions.migrate: the database refused: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
