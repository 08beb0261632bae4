"""Runs the migrations on the connection, and in the transaction, that database.py hands in."""

from alembic import context

from app.library.tables import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
