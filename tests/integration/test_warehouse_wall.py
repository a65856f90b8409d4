"""The second wall in a warehouse: whatever a statement says, it sees what its request is admitted to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
import pytest

from analytics_refreshd.core.warehouse import WarehouseFault
from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind
from analytics_refreshd.warehouse.catalogue.definition import answers
from analytics_refreshd.warehouse.catalogue.page import PageOf
from analytics_refreshd.warehouse.catalogue.statement import Asked, written
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.reading import Reader
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.tables import identifier
from analytics_refreshd.warehouse.tenants import DATABASE, NOTHING, ORGANIZATIONS, TENANT, WALLED, admission, policies
from tests.support.clickhouse import needs_chdb
from tests.support.tenants import TENANTS, fill, foreign
from tests.support.warehouse_loading import tables, walled_warehouse

pytestmark = needs_chdb
TENANT_QUERIES = [query for query in Catalogue.load() if query.organizations and query.name in answers()]
OF_ALL = {"hour_totals", "hour_durations", "action_type_distribution"}
"""Tables of figures of all together."""


@dataclass(frozen=True)
class Walled:
    """A warehouse behind its wall, with the databases `shop` and `west`, and the time that queries ask for."""

    settings: WarehouseSettings
    now: datetime

    def rows(self, text: str, admitted: dict[str, str]) -> list[str]:
        """Return the rows of a text, as a request with these settings gets them."""
        whole = text.replace("{target}", identifier(self.settings.database))
        lines = Client(self.settings).lines(f"{whole}\nformat TabSeparated", admitted, {}, 60)
        return [line.decode() for line in lines]


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walled]:
    """One for all tests, which only read."""
    with psycopg.connect(templates(migrated_template), autocommit=True, options="-c timezone=UTC") as owner:
        now = fill(owner)
        with walled_warehouse(owner, tmp_path_factory.mktemp("walled"), ("shop", "west")) as settings:
            yield Walled(settings, now)


def seen(database: str | None, organizations: Sequence[str] | None) -> dict[str, str]:
    """The settings of a request that may see so much."""
    return dict(admission(database, organizations))


@pytest.mark.slow
@pytest.mark.parametrize("query", TENANT_QUERIES, ids=lambda query: query.name)
def test_a_query_without_its_limit_shows_no_other_tenant(world: Walled, query: Query) -> None:
    """Sabotaged, it shows the admitted tenant's rows or nothing: no other's text, and no figure of all together."""
    reader = Reader(world.settings, 60, walled=True)
    columns = [field.column for field in query.api.fields]
    page = PageOf(tuple(column.name for column in columns), None)
    units = [column.unit for column in columns]

    def rows(limit: Sequence[str] | None, admitted: Sequence[str] | None) -> list[tuple[object, ...]]:
        values = bind(query, {}, limit, world.now, "analytics_api").values
        if "trigger_id" in values:
            values = {**values, "trigger_id": "bolt-trigger-1"}
        asked = Asked(answers()[query.name], values, reader.state().epochs)
        return list(reader.page(asked, page, units, admitted)[1])

    sabotaged = rows(None, ("acme",))
    assert [row for row in sabotaged if foreign(row, ("acme",))] == []
    everything = rows(None, None)
    if any(foreign(row, ("acme",)) for row in everything):
        assert sabotaged != everything
    else:
        # figures alone: those of all together are not shown
        assert not everything or sabotaged != everything


@pytest.mark.parametrize("table", TENANT)
def test_a_table_shows_what_is_admitted(world: Walled, table: str) -> None:
    """Of one tenant, of two, of none and of all; and of the request's database alone."""
    text = f"select distinct database, * except (database) from {{target}}.{table}"
    everything = world.rows(text, seen(None, None))
    assert {line.split("\t")[0] for line in everything} == {"shop", "west"}
    assert any(foreign(line, ()) for line in everything) == (table not in OF_ALL)
    assert world.rows(text, dict(NOTHING)) == []
    for tenants in (("acme",), ("bolt",), TENANTS):
        rows = world.rows(text, seen("shop", tenants))
        assert [line for line in rows if foreign(line, tenants) or not line.startswith("shop\t")] == []
        marked = {name for name in TENANTS if any(name in line for line in rows)}
        assert marked == (set() if table in OF_ALL else set(tenants))
    own = world.rows(text, seen("west", None))
    assert {line.split("\t")[0] for line in own} == {"west"}
    # of those with a tenant, nobody's rows are nobody's
    assert len(own) * 2 == len(everything)


@pytest.mark.slow
@pytest.mark.parametrize("table", WALLED)
def test_who_says_nothing_sees_nothing(world: Walled, table: str) -> None:
    """A request that forgot what it may see gets no row; nor does one that names half of it."""
    text = f"select count() from {{target}}.{table}"
    every = seen(None, None)
    assert world.rows(text, every) != ["0"]
    assert world.rows(text, {}) == ["0"]
    assert world.rows(text, every | {DATABASE: "''"}) == ["0"]
    if table in TENANT:
        assert world.rows(text, every | {ORGANIZATIONS: "''"}) == ["0"]


@pytest.mark.parametrize("setting", ["insert_deduplication_token = 'all'", "log_comment = 'all'", "readonly = 0"])
def test_no_text_changes_what_it_may_see(world: Walled, setting: str) -> None:
    """What a statement sets within counts for nothing: the request says that nothing may be set.

    Without that it would: the first assertion is that the text is one that could.
    """
    text = f"select * from (select trigger_id from {{target}}.triggers settings {setting})"
    admitted = seen("shop", ("acme",))
    rows = world.rows(text, {name: value for name, value in admitted.items() if name != "readonly"})
    assert [row for row in rows if foreign(row, ("acme",))] or not setting.startswith("insert")
    sealed = world.rows(text, admitted)
    assert sealed
    assert [row for row in sealed if foreign(row, ("acme",))] == []


@pytest.mark.parametrize("name", ["acme,bolt", "all", "", "61636d65", "acme' or 1 --", "\\", "äöü", "acme\x00", "%"])
def test_a_name_is_nothing_but_a_name(world: Walled, name: str) -> None:
    """An organization that is called like a list, like all, or like what a name is written as, sees itself alone."""
    text = "select trigger_id from {target}.triggers"
    assert world.rows(text, seen("shop", (name,))) == []
    assert world.rows(text, seen(name, None)) == []


@pytest.mark.parametrize("text", ["it's", "a\\tb", "a\tb", "a\nb", "\\", "', 'bolt", "äöü", "\\N", "NULL", "{x:Int8}"])
def test_a_value_comes_as_it_is(world: Walled, text: str) -> None:
    """Alone, and in a list: nothing in it ends it, and nothing is escaped twice."""
    asked = "select hex({one:String}), length({many:Array(String)}), hex({many:Array(String)}[1])"
    values = {"one": written(text), "many": written([text, "other"])}
    lines = Client(world.settings).lines(f"{asked}\nformat TabSeparated", seen(None, None), values, 60)
    plain = text.encode().hex().upper()
    assert list(lines) == [f"{plain}\t2\t{plain}".encode()]


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["", "analytics"])
def test_the_policies_are_statements(world: Walled, cluster: str) -> None:
    """ClickHouse reads each of them; chdb has no place to keep them."""
    for text in policies("analytics", cluster=cluster):
        assert world.rows(f"explain ast {text}", {})


def test_without_a_wall_nothing_is_answered(world: Walled) -> None:
    """Where policies are missing, a row that is shown to nobody is found, and the sentence says what to do."""
    settings = replace(world.settings, database="open")
    reader = Reader(settings, 60, walled=True)
    with tables(settings):
        reader.refuse_missing_wall()
        client = Client(settings)
        client.execute("insert into open.organizations (database, organization_id, batch) values ('shop', 'acme', 1)")
        with pytest.raises(WarehouseFault, match=r"shows organizations .* deploy/clickhouse/tenants\.sql"):
            reader.refuse_missing_wall()
    Reader(world.settings, 60, walled=True).refuse_missing_wall()
