"""Alembic's migrations; ``env.py`` runs them on an engine that database.py hands in."""
