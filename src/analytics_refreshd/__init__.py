"""Keep the analytics views of an action log in PostgreSQL fresh."""

__version__ = "0.3.0"
