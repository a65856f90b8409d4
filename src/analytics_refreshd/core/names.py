"""Names of schemas, functions and views in the configuration."""

import re

REFRESH_FUNCTION = "refresh_action_analytics"
VIEW_FUNCTION = "refresh_action_analytics_view"
STATUS_FUNCTION = "get_analytics_refresh_status"
TENANT_SCHEMA = "analytics_api"
"""What the role of the API reads: its views show what a transaction is admitted to."""
_PART = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
_NAME = re.compile(rf"(?:({_PART})\.)?({_PART})")


def split_name(name: str) -> tuple[str | None, str]:
    """Split `schema.name`, or a name alone, into its two parts; case counts.

    Raises ValueError for anything else, with a text that can follow the name: no other text may become SQL.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError("is not a plain SQL name: one or two parts of letters, digits and underscores")
    return found[1], found[2]
