"""The configuration of a ClickHouse cluster: that it is whole, and says twice the same where it says it twice."""

import re
from xml.etree import ElementTree

import pytest
import yaml

from analytics_refreshd.warehouse.reading import LAG_SECONDS
from analytics_refreshd.warehouse.tables import statements
from analytics_refreshd.warehouse.tenants import DATABASE, ORGANIZATIONS, WALLED, grants, policies
from tests.deploy.support import DEPLOY
from tests.generate.clickhouse import cluster_tables, one_servers_wall

CLICKHOUSE = DEPLOY / "clickhouse"
USERS = ElementTree.parse(CLICKHOUSE / "users.d" / "analytics.xml").getroot()  # noqa: S314 - our own
MANIFESTS = list(yaml.safe_load_all((CLICKHOUSE / "kubernetes.yaml").read_text()))


def test_the_cluster_has_two_shards_of_two_replicas() -> None:
    """No host is named twice, replicas copy for themselves, and nothing is spoken in clear text."""
    root = ElementTree.parse(CLICKHOUSE / "config.d" / "analytics-cluster.xml").getroot()  # noqa: S314 - our own
    shards = root.findall("remote_servers/analytics/shard")
    hosts = [[host.text for host in shard.findall("replica/host")] for shard in shards]
    assert [len(replicas) for replicas in hosts] == [2, 2]
    assert len({host for replicas in hosts for host in replicas}) == 4
    assert [shard.findtext("internal_replication") for shard in shards] == ["true", "true"]
    assert {entry.text for entry in root.iter("secure")} == {"1"}
    for port in ("http_port", "tcp_port", "interserver_http_port"):
        found = root.find(port)
        assert found is not None
        assert found.get("remove") == "1"


def test_the_one_who_asks_can_only_ask() -> None:
    """It has no right but SELECT, cannot write, and cannot lift its limits; no password is in a file."""
    grants = [query.text or "" for query in USERS.findall("users/analytics_reader/grants/query")]
    assert grants
    assert all(grant.startswith("GRANT SELECT ON analytics") for grant in grants)
    profile = USERS.find("profiles/analytics_reader")
    assert profile is not None
    # what a statement sets for its joins must be possible, and nothing is written
    assert profile.findtext("readonly") == "2"
    for limit in ("max_execution_time", "max_memory_usage", "max_result_rows"):
        assert profile.findtext(f"constraints/{limit}/max") == profile.findtext(limit)
    assert all(user.get("from_env") for user in USERS.iter("password_sha256_hex"))


def test_the_api_can_read_what_it_needs_and_no_more() -> None:
    """Tables, and of what was sent only how far that is; nothing is seen until a request says what."""
    granted = [query.text or "" for query in USERS.findall("users/analytics_api/grants/query")]
    assert granted == [*grants("analytics"), *grants("analytics_all")]
    assert not [text for text in granted if ".deltas" in text or ".*" in text or "incoming" in text]
    profile = USERS.find("profiles/analytics_api")
    assert profile is not None
    assert [profile.findtext(name) for name in (DATABASE, ORGANIZATIONS)] == ["''", "''"]
    # each request sends it, and could not send anything else after it
    assert profile.find("readonly") is None
    for limit in ("max_execution_time", "max_memory_usage", "max_result_rows"):
        assert profile.findtext(f"constraints/{limit}/max") == profile.findtext(limit)
    cluster = ElementTree.parse(CLICKHOUSE / "config.d" / "analytics-cluster.xml").getroot()  # noqa: S314 - our own
    installation = next(each for each in MANIFESTS if each["kind"] == "ClickHouseInstallation")
    prefix = installation["spec"]["configuration"]["settings"]["custom_settings_prefixes"]
    assert (
        cluster.findtext("custom_settings_prefixes")
        == prefix
        == DATABASE[: len(prefix)]
        == ORGANIZATIONS[: len(prefix)]
    )


@pytest.mark.parametrize("user", ["analytics_reader", "analytics_api"])
def test_a_replica_that_lags_is_not_asked(user: str) -> None:
    """Both profiles say what each request says."""
    profile = USERS.find(f"profiles/{user}")
    assert profile is not None
    assert profile.findtext("max_replica_delay_for_distributed_queries") == str(LAG_SECONDS)
    assert profile.findtext("fallback_to_stale_replicas_for_distributed_queries") == "0"


def test_the_wall_stands_on_one_server_and_on_each_of_a_cluster() -> None:
    """The policies are the same but for where they are created."""
    alone = one_servers_wall()
    assert "on cluster" not in alone
    assert alone.count("create row policy") == 2 * len(WALLED)
    for text in policies("analytics", cluster="analytics"):
        assert text in cluster_tables()
        assert text.replace(" on cluster analytics", "") in alone


def test_the_operators_example_says_the_same() -> None:
    """Users, rights, limits and the cluster's shape are those of the files."""
    installation = next(each for each in MANIFESTS if each["kind"] == "ClickHouseInstallation")
    configuration = installation["spec"]["configuration"]
    (cluster,) = configuration["clusters"]
    assert (cluster["layout"]["shardsCount"], cluster["layout"]["replicasCount"]) == (2, 2)
    for user in ("analytics_daemon", "analytics_reader", "analytics_api"):
        written = [query.text for query in USERS.findall(f"users/{user}/grants/query")]
        assert configuration["users"][f"{user}/grants/query"] == written
    for key, value in configuration["profiles"].items():
        assert USERS.findtext(f"profiles/{key}") == str(value), key
    for key, value in configuration["quotas"].items():
        assert USERS.findtext(f"quotas/{key}") == str(value), key


def test_every_table_is_replicated_and_shown_by_all_shards() -> None:
    """None of the definitions is forgotten, and no engine is one of a single server."""
    text = cluster_tables()
    assert not re.search(r"engine = (?!Replicated|Distributed)", text)
    assert "{target}" not in text
    assert "non_replicated" not in text
    places = re.findall(r"'(/clickhouse/tables/[^']+)'", text)
    assert len(places) == len(set(places))
    for name in statements():
        if name != "incoming":
            assert re.search(rf"exists analytics\.{name} on cluster", text), name
        if not name.endswith("_from_deltas") and name != "incoming":
            assert re.search(rf"exists analytics_all\.{name} on cluster", text), name
