"""Alembic's entry: runs the migrations in the transaction that functions.migrate opened."""

from __future__ import annotations

from alembic import context

from functions.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata(), transactional_ddl=True
)
context.run_migrations()
