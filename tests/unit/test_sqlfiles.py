"""SQL files: what of a block reaches the server."""

from pathlib import Path

import pytest

from analytics_refreshd.postgres.connection import sqlfiles

ROOT = Path(__file__).parents[2]
FILES = [
    f"{room}/{name}"
    for room in (
        "check",
        "connection",
        "incremental",
        "partitions",
        "refresh",
        "retention",
        "schema",
        "state",
        "tenants",
    )
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


@pytest.mark.parametrize("script", sorted((ROOT / "deploy" / "sql").glob("*.sql")), ids=lambda path: path.name)
def test_scripts_for_people_trust_no_operator_of_the_application(script: Path) -> None:
    """Each begins with the path that finds pg_catalog's: who runs it may be a superuser."""
    lines = (line.strip() for line in script.read_text().splitlines())
    statements = [line for line in lines if line and not line.startswith(("--", "\\"))]
    assert statements[:2] == ["begin;", "set local search_path = pg_catalog, pg_temp;"]
    assert statements.count("begin;") == statements.count("commit;") == 1
