"""SQL files: what of a block reaches the server."""

import pytest

from analytics_refreshd.postgres.connection import sqlfiles

FILES = [
    f"{room}/{name}"
    for room in ("check", "connection", "incremental", "refresh", "schema", "state")
    for name in sqlfiles.names(room)
]


@pytest.mark.parametrize("file", FILES)
def test_a_running_statement_shows_itself(file: str) -> None:
    """No block begins with a comment of ours, which would be all that pg_stat_activity has room for."""
    assert [name for name, text in sqlfiles.blocks(file).items() if text.startswith("--") or not text] == []


def test_comments_within_a_statement_stay() -> None:
    """What the server stores keeps its comments: only those above a block's first statement go."""
    block = sqlfiles.blocks("schema/migrations/0005_guard_functions.sql")["refresh_action_analytics_view"]
    assert "-- whatever goes wrong from here on, the refresh stands" in block
    status = sqlfiles.blocks("schema/migrations/0005_guard_functions.sql")["get_analytics_refresh_status"]
    assert status.startswith("create or replace function")
