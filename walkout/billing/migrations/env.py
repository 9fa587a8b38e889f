"""Alembic's entry: runs on the connection that ``open_books`` hands over, inside the transaction it began."""

from alembic import context

from walkout.billing.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
