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
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from functions.database import connect

MIGRATIONS = Path(__file__).parent / "migrations"
PAGE_ROLE = "loop_ui"
"""The page's role, which whoever runs the database makes where it is to do less than the owner of the tables."""
PAGE_WRITES = {
    "rollout_wishes": "INSERT, UPDATE, DELETE",
    "rollout_decisions": "INSERT",
    "drift_checks": "INSERT",
    "drift_baselines": "INSERT, UPDATE",
    "dead_letters": "UPDATE",
}
"""What operators decide on the page, and the log of it. Everything else goes through the Broker."""


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
        if connection.dialect.name == "postgresql":
            grant_page(connection)
        connection.commit()


def grant_page(connection: Connection) -> None:
    """On PostgreSQL: PAGE_ROLE, where it is there, may read all tables and write PAGE_WRITES; new tables as well."""
    role = f"SELECT 1 FROM pg_roles WHERE rolname = '{PAGE_ROLE}'"
    if connection.exec_driver_sql(role).first() is None:
        return
    ours = "schemaname = current_schema() AND tableowner = current_user"
    for (table,) in connection.exec_driver_sql(f"SELECT tablename FROM pg_tables WHERE {ours}").all():
        rights = ", ".join(filter(None, ("SELECT", PAGE_WRITES.get(table))))
        connection.exec_driver_sql(f'GRANT {rights} ON "{table}" TO {PAGE_ROLE}')
        if "INSERT" in rights:
            for sequence in _sequences(connection, table):
                connection.exec_driver_sql(f"GRANT USAGE ON SEQUENCE {sequence} TO {PAGE_ROLE}")


def _sequences(connection: Connection, table: str) -> list[str]:
    """Those that number the table's rows; quoted where needed."""
    columns = "information_schema.columns WHERE table_schema = current_schema() AND table_name = %s"
    statement = f"SELECT pg_get_serial_sequence(quote_ident(table_name), column_name) FROM {columns}"
    return [name for (name,) in connection.exec_driver_sql(statement, (table,)).all() if name]


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
