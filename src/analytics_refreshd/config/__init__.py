"""The configuration of the daemon, checked before anything starts."""

from analytics_refreshd.config.loading import load
from analytics_refreshd.config.sections import Config
from analytics_refreshd.config.values import parse_duration

__all__ = ["Config", "load", "parse_duration"]
