"""What Alembic runs: on the connection that `Database.migrate` opened."""

from alembic import context

from reft.service.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite changes a column only by making its table anew
)
with context.begin_transaction():
    context.run_migrations()
