"""The command line. Results go to stdout, logs and errors to stderr."""

from analytics_refreshd.cli.main import main

__all__ = ["main"]
