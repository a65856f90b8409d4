"""The manifests, built by kustomize and judged by their schemas."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics_refreshd import __version__
from tests.deploy.manifests import KUBERNETES, Manifest, build, kustomize
from tests.deploy.support import accepted, tool

TARGETS = ["base", "overlays/cronjob", "overlays/three-databases"]
COMPONENTS = [
    *("service-monitor", "prometheus-rule", "verify", "retain"),
    *("api", "api-redis", "api-standby", "api-service-monitor"),
]
OPERATOR = {"PrometheusRule", "ServiceMonitor"}


@pytest.fixture(scope="module", params=TARGETS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """Each thing that can be applied."""
    return build(KUBERNETES / request.param)


@pytest.fixture
def with_components(tmp_path: Path) -> list[Manifest]:
    """The base with every component."""
    folder = tmp_path / "all"
    folder.mkdir()
    up = os.path.relpath(KUBERNETES, folder.resolve())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{up}/base"],
        "components": [f"{up}/components/{name}" for name in COMPONENTS],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    return build(folder)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """The manifests of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Every pod template."""
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            yield manifest["spec"]["template"]
        if manifest["kind"] == "CronJob":
            yield manifest["spec"]["jobTemplate"]["spec"]["template"]


def strictly_valid(manifests: list[Manifest], folder: Path) -> None:
    """Judge by Kubernetes' own schemas, unknown fields included."""
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(m for m in manifests if m["kind"] not in OPERATOR))
    output = accepted(tool("kubernetes-validate"), "--strict", path)
    assert output.count("passed for resource") == len([m for m in manifests if m["kind"] not in OPERATOR])


def test_what_is_applied_is_valid(manifests: list[Manifest], tmp_path: Path) -> None:
    """kubernetes-validate --strict accepts every manifest of base and overlays."""
    strictly_valid(manifests, tmp_path)


def test_every_component_is_valid(with_components: list[Manifest], tmp_path: Path) -> None:
    """kubernetes-validate --strict accepts the base with all components."""
    assert {manifest["kind"] for manifest in with_components} >= OPERATOR | {"CronJob"}
    strictly_valid(with_components, tmp_path)


def test_the_operators_resources_fit_their_models(with_components: list[Manifest]) -> None:
    """PrometheusRule and ServiceMonitor are what the Prometheus operator expects."""
    modules = os.environ.get("REFRESHD_TEST_NODE_MODULES", "")
    package = Path(modules) / "@kubernetes-models" / "prometheus-operator"
    if not modules or not package.exists():
        pytest.skip("REFRESHD_TEST_NODE_MODULES does not hold @kubernetes-models/prometheus-operator")
    program = """
      import('@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1').then((models) => {
        for (const d of JSON.parse(require('fs').readFileSync(0))) { new models[d.kind](d).validate(); }
      });
    """
    resources = [manifest for manifest in with_components if manifest["kind"] in OPERATOR]
    assert len(resources) == 3
    accepted(tool("node"), "-e", program, feed=json.dumps(resources), cwd=Path(modules).parent)


def test_pods_meet_the_restricted_standard(manifests: list[Manifest]) -> None:
    """No pod would be refused in a namespace that enforces the restricted Pod Security Standard."""
    for pod in pods(manifests):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"]["drop"] == ["ALL"]
            assert security["readOnlyRootFilesystem"] is True
        assert not any("hostPath" in volume for volume in spec["volumes"])


def test_pods_know_nothing_of_the_cluster(manifests: list[Manifest]) -> None:
    """No token, and no variables named after services, which the configuration would refuse."""
    for pod in pods(manifests):
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False
    for account in of_kind(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_pods_have_requests_and_a_memory_limit(manifests: list[Manifest]) -> None:
    """A pod can be placed, and one that leaks hurts only itself."""
    for pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_pods_get_more_time_to_stop_than_they_take(manifests: list[Manifest]) -> None:
    """The grace period exceeds the daemon's ten seconds for shutting down, with margin."""
    for pod in pods(manifests):
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 20


def test_a_deployment_can_lose_a_pod() -> None:
    """Two replicas and probes: start and liveness ask /livez, which no database can fail; readiness asks /readyz."""
    (deployment,) = of_kind(build(KUBERNETES / "base"), "Deployment")
    assert deployment["spec"]["replicas"] == 2
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {"name": "ANALYTICS_REFRESHD_HTTP__HOST", "value": "0.0.0.0"} in container["env"]  # noqa: S104


def test_selectors_find_their_own_pods_only(manifests: list[Manifest]) -> None:
    """Budget, Service and Deployment of one database select its daemon's pods; its policy selects its Jobs' too."""
    all_pods = list(pods(manifests))
    for kind, path in (
        ("Deployment", ("selector", "matchLabels")),
        ("PodDisruptionBudget", ("selector", "matchLabels")),
        ("NetworkPolicy", ("podSelector", "matchLabels")),
        ("Service", ("selector",)),
    ):
        for manifest in of_kind(manifests, kind):
            selector: Any = manifest["spec"]
            for step in path:
                selector = selector[step]
            found = [pod for pod in all_pods if selector.items() <= pod["metadata"]["labels"].items()]
            assert len(found) == 1, f"{kind} {manifest['metadata']['name']} selects {len(found)} pods"


DATABASES = ["orders", "billing", "support"]
CHOICES = [[], COMPONENTS]
SINGLY = [[name] for name in COMPONENTS if name not in ("api-redis", "api-standby")]
OVERLAYS = [
    pytest.param("base", CHOICES, id="base"),
    # by day, all of them and none
    pytest.param("base", SINGLY, id="base-singly", marks=pytest.mark.nightly),
    pytest.param("overlays/cronjob", CHOICES, id="cronjob"),
    pytest.param(f"overlays/three-databases/{DATABASES[0]}", CHOICES, id=DATABASES[0]),
    # made as the first is
    *(
        pytest.param(f"overlays/three-databases/{name}", CHOICES, id=name, marks=pytest.mark.nightly)
        for name in DATABASES[1:]
    ),
]


@pytest.mark.fault
@pytest.mark.parametrize(("overlay", "choices"), OVERLAYS)
@pytest.mark.slow
def test_L24_every_overlay_goes_with_every_component(overlay: str, choices: list[list[str]], tmp_path: Path) -> None:
    """Around an overlay, and within its folder: each pod's image can be pulled, and what it mounts is there."""
    around = tmp_path / "around"
    around.mkdir()
    up = os.path.relpath(KUBERNETES, around.resolve())
    wrapper = {"resources": [f"{up}/{overlay}"], "components": [f"{up}/components/{name}" for name in COMPONENTS]}
    (around / "kustomization.yaml").write_text(json.dumps(wrapper))
    _judge(build(around), COMPONENTS)
    for number, chosen in enumerate(choices):
        within = tmp_path / f"within{number}"
        shutil.copytree(KUBERNETES, within)
        path = within / overlay / "kustomization.yaml"
        own = yaml.safe_load(path.read_text())
        back = os.path.relpath(within, path.parent)
        own["components"] = [*own.get("components", []), *(f"{back}/components/{name}" for name in chosen)]
        path.write_text(yaml.safe_dump(own))
        _judge(build(within / overlay), chosen)


def _judge(manifests: list[Manifest], chosen: list[str]) -> None:
    """Judge images, mounted configuration and secrets, selectors."""
    all_pods = list(pods(manifests))
    assert {container["image"] for pod in all_pods for container in pod["spec"]["containers"]} == {
        f"registry.example.com/analytics-refreshd:{__version__}"
    }
    maps = {manifest["metadata"]["name"] for manifest in of_kind(manifests, "ConfigMap")}
    accounts = {manifest["metadata"]["name"] for manifest in of_kind(manifests, "ServiceAccount")}
    secrets = set()
    for pod in all_pods:
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert {volumes[name]["configMap"]["name"] for name in ("config", "ca")} <= maps
        assert pod["spec"]["serviceAccountName"] in accounts
        secrets.add(volumes["password"]["secret"]["secretName"])
    (account,) = of_kind(manifests, "ServiceAccount")
    assert secrets == {account["metadata"]["annotations"]["analytics-refreshd/password-secret"]}
    jobs = [next(pods([manifest])) for manifest in of_kind(manifests, "CronJob")]
    for word, component in (("--verify", "verify"), ("retain", "retain")):
        assert any(word in pod["spec"]["containers"][0]["args"] for pod in jobs) == (component in chosen)
    for manifest in manifests:
        selector = _selector(manifest)
        selected = [pod for pod in all_pods if selector is not None and selector.items() <= _labels(pod)]
        assert not [pod for pod in selected if pod in jobs], f"{manifest['kind']} selects the pods of a Job"
    for manifest in of_kind(manifests, "ServiceMonitor"):
        labels = manifest["spec"]["selector"]["matchLabels"].items()
        services = of_kind(manifests, "Service")
        found = [one for one in services if labels <= one["metadata"]["labels"].items()]
        api = manifest["metadata"]["name"].startswith("analytics-refreshd-api")
        named = [one for one in services if one["metadata"]["name"].startswith("analytics-refreshd-api") == api]
        assert found == named


def _labels(pod: Manifest) -> Any:
    return pod["metadata"]["labels"].items()


def _selector(manifest: Manifest) -> Any:
    if manifest["kind"] in ("Deployment", "PodDisruptionBudget"):
        return manifest["spec"]["selector"]["matchLabels"]
    return manifest["spec"]["selector"] if manifest["kind"] == "Service" else None


@pytest.mark.fault
def test_L24_three_databases_are_not_verified_by_one_job(tmp_path: Path) -> None:
    """Around all three nobody could tell whose Secret the Job takes: kustomize refuses that."""
    up = os.path.relpath(KUBERNETES, tmp_path.resolve())
    wrapper = {"resources": [f"{up}/overlays/three-databases"], "components": [f"{up}/components/verify"]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(wrapper))
    built = subprocess.run([*kustomize(), str(tmp_path)], capture_output=True, text=True, check=False)
    assert built.returncode != 0
    assert "multiple matches" in built.stderr


def test_the_network_policy_leaves_name_resolution_alone(manifests: list[Manifest]) -> None:
    """No label of ours slips into a rule about other pods."""
    for policy in of_kind(manifests, "NetworkPolicy"):
        rules = policy["spec"]["egress"] + policy["spec"]["ingress"]
        peers = [peer for rule in rules for peer in rule.get("to", []) + rule.get("from", [])]
        assert peers
        assert all(not peer.get("podSelector") for peer in peers)


def test_three_databases_share_nothing_but_the_rules() -> None:
    """Each database has its own Deployment, configuration and password; monitor and rules come once."""
    manifests = build(KUBERNETES / "overlays/three-databases")
    deployments = of_kind(manifests, "Deployment")
    names = {"orders", "billing", "support"}
    assert {manifest["metadata"]["name"] for manifest in deployments} == {
        f"analytics-refreshd-{name}" for name in names
    }
    configurations = {m["metadata"]["name"]: m["data"] for m in of_kind(manifests, "ConfigMap")}
    secrets = set()
    for deployment in deployments:
        name = deployment["metadata"]["name"].removeprefix("analytics-refreshd-")
        volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
        assert f'name = "{name}"' in configurations[volumes["config"]["configMap"]["name"]]["config.toml"]
        secrets.add(volumes["password"]["secret"]["secretName"])
    assert secrets == {f"analytics-refreshd-password-{name}" for name in names}
    assert len(of_kind(manifests, "ServiceMonitor")) == len(of_kind(manifests, "PrometheusRule")) == 1


def test_the_cronjob_replaces_the_daemon() -> None:
    """One job at a time, one try a slot, ended before the next slot, and no Deployment beside it."""
    manifests = build(KUBERNETES / "overlays/cronjob")
    (job,) = of_kind(manifests, "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert job["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 300
    assert next(pods(manifests))["spec"]["containers"][0]["args"] == ["refresh"]
    assert not of_kind(manifests, "Deployment")
