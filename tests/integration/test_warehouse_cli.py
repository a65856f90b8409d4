"""`query --engine warehouse` on the command line: what it prints, and how it refuses."""

import csv
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from analytics_refreshd.warehouse.settings import WarehouseSettings
from tests.integration.test_queries_cli import query
from tests.integration.test_queries_exact import ORGANIZATIONS, insert, stream
from tests.support.brute_force import Data
from tests.support.clickhouse import PASSWORD, USER, needs_chdb, serving
from tests.support.warehouse_loading import load, tables

Asking = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = [needs_chdb, pytest.mark.slow]


@pytest.fixture(scope="module")
def asking(
    tmp_path_factory: pytest.TempPathFactory, templates: Callable[..., str], migrated_template: str
) -> Iterator[Asking]:
    """`asking(*words)` runs `query` with a configuration of two databases, `east` and `west`, and of no PostgreSQL."""
    folder = tmp_path_factory.mktemp("warehouse")
    (folder / "password").write_text(PASSWORD)
    with (
        serving(folder / "data") as server,
        psycopg.connect(templates(migrated_template), autocommit=True) as connection,
    ):
        settings = WarehouseSettings(
            "east", server.url, user=USER, password_file=folder / "password", connect_seconds=60.0
        )
        with tables(settings):
            whole = stream(200)
            insert(connection, Data(whole.actions, whole.triggers, ORGANIZATIONS))
            connection.execute("select refresh_action_analytics()")
            for name in ("east", "west"):
                load(replace(settings, name=name), connection)
            environment = {
                "ANALYTICS_REFRESHD_SERVICE__NAME": "east",
                "ANALYTICS_REFRESHD_WAREHOUSE__URL": server.url,
                "ANALYTICS_REFRESHD_WAREHOUSE__USER": USER,
                "ANALYTICS_REFRESHD_WAREHOUSE__PASSWORD_FILE": str(folder / "password"),
            }
            yield lambda *words: query("postgresql://127.0.0.1:1/none", *words, **environment)


def test_an_answer_says_who_gave_it_and_as_of_when(asking: Asking) -> None:
    """JSON has the engine and the last batch's time; a table says both below it."""
    done = asking(
        "success-rate", "--days", "3650", "--since", "1999-01-01", "--engine", "warehouse", "--format", "json"
    )
    assert done.returncode == 2
    assert "--since" in done.stderr
    done = asking("top-organizations", "--engine", "warehouse", "--format", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["engine"] == "warehouse"
    assert answer["as_of"] == "2026-01-01T00:00:03Z"
    assert {row["organization_id"] for row in answer["rows"]} == {"acme", "blue", "unknown"}
    assert answer["notes"] == ["from the warehouse, as of 2026-01-01 00:00:03 UTC"]


def test_a_fleets_rows_name_their_database(asking: Asking) -> None:
    """Rows that are of one database begin with it; those of all add up."""
    done = asking("top-organizations", "--engine", "warehouse", "--fleet", "--format", "csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    of = {name: [list(row.values())[1:] for row in rows if row["database"] == name] for name in ("east", "west")}
    assert of["east"] == of["west"] != []
    assert len(rows) == 2 * len(of["east"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("refresh-status",), 2, "does not answer refresh-status like this: it asks PostgreSQL"),
        (
            ("latency", "--organization", "acme"),
            2,
            "no durations of an organization or trigger by hour; --engine postgres",
        ),
        (("success-rate", "--organization", "nobody"), 2, "there is no organization nobody"),
        (("success-rate", "--explain"), 64, "clickhouse-client"),
    ],
)
def test_what_it_does_not_answer_it_refuses(asking: Asking, words: tuple[str, ...], code: int, said: str) -> None:
    """A refusal says why and what does answer; no number stands in for one that is not known."""
    done = asking(*words, "--engine", "warehouse")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_the_statement_can_be_given_to_the_servers_client(asking: Asking) -> None:
    """--print-sql sets each parameter that the statement names."""
    done = asking("idle-triggers", "--engine", "warehouse", "--print-sql")
    assert done.returncode == 0, done.stderr
    assert "set param_databases = '[\\'east\\']';" in done.stdout
    assert done.stdout.rstrip().endswith("settings join_use_nulls = 1, distributed_product_mode = 'local';")


def test_without_a_warehouse_it_says_so() -> None:
    """--engine without [warehouse] url is a configuration to complete."""
    empty = query("postgresql://127.0.0.1:1/none", "success-rate", "--engine", "warehouse")
    assert empty.returncode == 78
    assert "warehouse.url is missing" in empty.stderr
