"""What the second wall takes: a proof by the secret, and queries that stay behind it."""

import hashlib
import hmac
import json
from dataclasses import replace

import pytest

from analytics_refreshd.postgres.catalogue.definition import QueryFileError
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.walled import refuse_unwalled
from analytics_refreshd.postgres.tenants.wall import WallSecret

CATALOGUE = Catalogue.load()


def test_a_proof_is_an_hmac_of_the_transaction_and_what_it_sees() -> None:
    """Computed here by Python's own HMAC, with the secret's hash as the key."""
    secret = b"s" * 32
    secret_id, proof, payload = (
        WallSecret.of(secret).token("123 456", {"organizations": ["acme", 'b"ö lt']}).split(" ", 2)
    )
    assert json.loads(payload) == {"organizations": ["acme", 'b"ö lt']}
    assert payload.isascii()
    key = hashlib.sha256(secret).digest()
    assert proof == hmac.new(key, f"123 456 {payload}".encode(), "sha256").hexdigest()
    assert secret_id not in key.hex()


def test_the_catalogue_stays_behind_the_wall() -> None:
    """None of the program's own queries is refused."""
    refuse_unwalled(CATALOGUE, "app")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select set_config('analytics_api.token', 'x', true)", "set_config"),
        ("select SET_CONFIG ('a', 'x', true)", "SET_CONFIG"),
        ("select \"set_config\"('a', 'x', true)", "set_config"),
        ("select current_setting('analytics_api.token')", "current_setting"),
        ("select query_to_xml('select 1', true, true, '')", "query_to_xml"),
        ("select * from dblink('', '')", "dblink"),
        ("select pg_terminate_backend(1)", "pg_terminate_backend"),
        ("select pg_catalog.pg_sleep(10)", "pg_sleep"),
        ("select * from public.action_results", "schema public"),
        ("select * from public . action_results", "schema public"),
        ('select * from "public"."action_results"', "schema public"),
        ("select * from t, public.action_results", "schema public"),
        ("select public.leak(1)", "schema public"),
        ("select x.leak(1)", "schema x"),
        ("select * from t join other.things using (id)", "schema other"),
        ("select * from (other.things)", "schema other"),
        ("select * from a, app.triggers", "schema app"),
        ("select * from analytics_refresh.api_keys", "schema analytics_refresh"),
        ("table analytics_refresh.api_secrets", "schema analytics_refresh"),
        ("select * from pg_catalog.pg_class", "pg_class"),
        ("select * from pg_roles", "pg_roles"),
        ("select * from information_schema.tables", "schema information_schema"),
        ("select /* from */ 1 from/**/public.t", "schema public"),
    ],
)
def test_what_reaches_past_the_wall_is_refused(text: str, said: str) -> None:
    """Another schema, the catalogs, and functions by which a text could run what it does not name."""
    query = replace(next(iter(CATALOGUE)), body=text, file="mine.sql")
    with pytest.raises(QueryFileError, match=rf"mine\.sql.* {said}"):
        refuse_unwalled([query], "app")


@pytest.mark.parametrize(
    "text",
    [
        "select h.hour, count(h.n) from {hourly} as h, {triggers} as t where h.a is distinct from t.b",
        "select extract(epoch from t.created_at), substring(t.name from 2), trim(both from t.name) from {triggers} t",
        "select 'set_config', 'public.x' from {triggers} -- from public.action_results",
        "with a as (select 1 as b) select a.b from a cross join lateral (select a.b) as c",
        "select s.n from pg_catalog.generate_series(1, 2) as s (n)",
        "select s.view_name from {app}.get_analytics_refresh_status() as s",
    ],
)
def test_what_stays_behind_it_is_taken(text: str) -> None:
    """Aliases, texts and comments are no schemas."""
    refuse_unwalled([replace(next(iter(CATALOGUE)), body=text)], "app")
