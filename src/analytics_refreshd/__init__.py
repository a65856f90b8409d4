"""Keeps the analytics views of an action log in PostgreSQL fresh, and tells the truth about it."""

__version__ = "0.2.0"
