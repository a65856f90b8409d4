"""The API's components: beside the daemon, which does not change, with connections of their own."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics_refreshd.api.service import STOP_SECONDS
from analytics_refreshd.config import load
from analytics_refreshd.config.adapters import reading_settings, writing_settings
from tests.deploy.manifests import KUBERNETES, Manifest, build
from tests.deploy.support import DEPLOY
from tests.support.earlier import take_out

NAME = "app.kubernetes.io/name"
DAEMON, API = "analytics-refreshd", "analytics-refreshd-api"
FIRST = "9777f56"
"""Version 0.1.0."""
IMMUTABLE = {
    ("Deployment", DAEMON): {"selector": {"matchLabels": {NAME: DAEMON}}},
    ("Service", DAEMON): {"clusterIP": "None"},
}
"""What Kubernetes refuses to change in the objects that version 0.1.0 made."""


def beside_base(folder: Path, *components: str, **more: object) -> list[Manifest]:
    """The base with these components, and what else an overlay has."""
    folder.mkdir()
    up = os.path.relpath(KUBERNETES, folder.resolve())
    wrapper = {"resources": [f"{up}/base"], "components": [f"{up}/components/{name}" for name in components]} | more
    (folder / "kustomization.yaml").write_text(json.dumps(wrapper))
    return build(folder)


def immutable(manifests: list[Manifest]) -> dict[tuple[str, str], Any]:
    """Their fields that cannot be changed once they are applied."""
    fields = {"Deployment": "selector", "Service": "clusterIP"}
    return {
        (one["kind"], one["metadata"]["name"]): {fields[one["kind"]]: one["spec"].get(fields[one["kind"]])}
        for one in manifests
        if one["kind"] in fields
    }


def named(manifests: list[Manifest], kind: str, name: str = API) -> Manifest:
    """The manifest of this kind and name."""
    (found,) = (one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


@pytest.mark.slow
def test_the_daemon_is_not_touched(tmp_path: Path) -> None:
    """Every manifest of the base is there as it was, and what is applied over version 0.1.0 changes no fixed field."""
    base = build(KUBERNETES / "base")
    manifests = beside_base(tmp_path / "all", "api", "api-redis", "api-standby", "api-service-monitor")
    assert [one for one in base if one not in manifests] == []
    found = immutable(manifests)
    assert {key: found[key] for key in IMMUTABLE} == IMMUTABLE


@pytest.mark.slow
def test_what_could_not_be_changed_is_what_was_applied(tmp_path: Path) -> None:
    """The fields above are those of the first version's manifests."""
    take_out(FIRST, tmp_path, "the gate runs in a checkout", "deploy/kubernetes")
    assert immutable(build(tmp_path / "deploy/kubernetes/base")) == IMMUTABLE


@pytest.mark.slow
def test_daemon_and_api_select_their_own_pods(tmp_path: Path) -> None:
    """Deployment, Service, budget and policies of one never find the other's pods."""
    manifests = beside_base(tmp_path / "all", "api", "api-redis", "api-standby")
    pods = {one["metadata"]["name"]: one["spec"]["template"] for one in manifests if one["kind"] == "Deployment"}
    assert set(pods) == {DAEMON, API}
    for one in manifests:
        spec = one["spec"] if "spec" in one else {}
        selector = spec.get("podSelector", spec.get("selector"))
        if selector is None:
            continue
        labels = selector.get("matchLabels", selector)
        found = [name for name, pod in pods.items() if labels.items() <= pod["metadata"]["labels"].items()]
        assert found == [API if one["metadata"]["name"].startswith(API) else DAEMON], one["metadata"]["name"]


@pytest.mark.slow
def test_each_connection_is_allowed_by_a_rule(tmp_path: Path) -> None:
    """Requests, scrapes, names, PostgreSQL; Redis and the autoscaler only with their component."""
    manifests = beside_base(tmp_path / "api", "api")
    policy = named(manifests, "NetworkPolicy")["spec"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["api", "management"]
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 5432]
    peers = [peer for rule in policy["ingress"] for peer in rule["from"]]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}} in peers
    assert not [one for one in manifests if one["kind"] == "HorizontalPodAutoscaler"]
    deployment = named(manifests, "Deployment")["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment["ANALYTICS_REFRESHD_API__REPLICAS"] == str(deployment["replicas"])
    assert environment["ANALYTICS_REFRESHD_DATABASE__USER"] == "analytics_api"
    assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {"management"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"api": 9721, "management": 9722}


@pytest.mark.slow
def test_with_redis_there_may_be_more_or_fewer(tmp_path: Path) -> None:
    """The autoscaler says how many, and the processes read Redis' address from the Secret."""
    manifests = beside_base(tmp_path / "redis", "api", "api-redis")
    deployment = named(manifests, "Deployment")["spec"]
    assert "replicas" not in deployment
    assert named(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == API
    policy = named(manifests, "NetworkPolicy", f"{API}-redis")["spec"]
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [6379]
    (container,) = deployment["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    mounted = next(one for one in container["volumeMounts"] if one["name"] == "password")["mountPath"]
    volume = next(one for one in deployment["template"]["spec"]["volumes"] if one["name"] == "password")
    files = {f"{mounted}/{item['path']}" for item in volume["secret"]["items"]}
    names = ("DATABASE__PASSWORD_FILE", "API__SECRET_FILE", "API__LIMITS_URL_FILE")
    assert {environment[f"ANALYTICS_REFRESHD_{name}"] for name in names} == files


@pytest.mark.slow
def test_reads_from_a_standby_and_writes_to_the_primary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's patch, beside the daemon's configuration, is enough; the primary has a rule of its own."""
    (patches,) = re.findall(r"```yaml\n(patches:.*?)```", (DEPLOY / "guides/api.md").read_text("utf-8"), re.DOTALL)
    manifests = beside_base(tmp_path / "standby", "api", "api-standby", **yaml.safe_load(patches))
    policy = named(manifests, "NetworkPolicy", f"{API}-primary")["spec"]
    assert policy["policyTypes"] == ["Egress"]
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [5432]
    (container,) = named(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    for one in container["env"]:
        if not one["name"].endswith(("_CONFIG", "_FILE")):
            monkeypatch.setenv(one["name"], one["value"])
    monkeypatch.setenv("ANALYTICS_REFRESHD_DATABASE__SSLROOTCERT", str(KUBERNETES / "base/ca.crt"))
    config = load(KUBERNETES / "base/config.toml")
    found = [settings(config).libpq() for settings in (reading_settings, writing_settings)]
    assert [each["host"] for each in found] == ["standby.db.example.net", "primary.db.example.net"]
    assert {(each["user"], each["dbname"]) for each in found} == {("analytics_api", "actions")}
    assert {each["sslmode"] for each in found} == {"verify-full"}


@pytest.mark.slow
def test_a_pod_that_goes_takes_requests_until_its_service_has_forgotten_it(tmp_path: Path) -> None:
    """It waits before SIGTERM, and the grace period holds that wait and the time that the API takes to stop."""
    pod = named(beside_base(tmp_path / "api", "api"), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert 3 <= int(seconds)
    assert int(seconds) + STOP_SECONDS + 10 <= pod["terminationGracePeriodSeconds"]
