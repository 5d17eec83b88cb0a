"""Alembic migrations of the service, packaged with it."""
