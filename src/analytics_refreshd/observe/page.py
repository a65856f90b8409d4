"""The page."""

from analytics_refreshd.core.ports import ServiceState

PAGE_POLICY = "default-src 'none'"


def render_page(state: ServiceState, monotonic: float) -> bytes:
    """The page."""
    return b"<!doctype html>"
