"""Connections, sessions, SQL files and error classes."""

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
"""A connection whose rows may be of any type."""
