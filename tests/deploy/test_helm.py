"""The Helm chart renders what kustomize builds from the manifests."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from analytics_refreshd import __version__
from tests.deploy.manifests import KUBERNETES, Manifest, build
from tests.deploy.support import DEPLOY, RULES, accepted, run, tool

CHART = DEPLOY / "helm"
COMPONENTS = {
    "verify": "verify.enabled",
    "retain": "retain.enabled",
    "service-monitor": "serviceMonitor.enabled",
    "prometheus-rule": "prometheusRule.enabled",
    "api": "api.enabled",
    "api-redis": "api.redis.enabled",
    "api-standby": "api.standby.enabled",
    "api-service-monitor": "serviceMonitor.enabled",
}
SECRET_NOTE = "analytics-refreshd/password-secret"
"""Tells kustomize's components the Secret; a chart hands it on itself."""
CHECKSUM = "analytics-refreshd/checksum"
"""Rolls a chart's pods where kustomize changes the name of the ConfigMap."""


def helm() -> str:
    """Path of helm: the one that REFRESHD_TEST_HELM names, or the one on the PATH."""
    return os.environ.get("REFRESHD_TEST_HELM") or tool("helm")


def render(configuration: Path, *settings: str) -> list[Manifest]:
    """What `helm install` would send."""
    words = [f"--set={setting}" for setting in settings]
    files = [f"--set-file=config={configuration}", f"--set-file=ca={KUBERNETES / 'base' / 'ca.crt'}"]
    rendered = run(helm(), "template", "any", CHART, *files, *words)
    assert rendered.returncode == 0, rendered.stdout
    # helm 4 reports the linked file of rules on standard error, which is read together with the rest
    text = re.sub(r"(?m)^(level=|time=|walk\.go).*\n", "", rendered.stdout)
    return [document for document in yaml.safe_load_all(text) if document]


def kustomized(folder: Path, overlay: str, components: list[str]) -> list[Manifest]:
    """Build an overlay with components in its own folder, as the guide adds them."""
    shutil.copytree(KUBERNETES, folder)
    path = folder / overlay / "kustomization.yaml"
    own = yaml.safe_load(path.read_text())
    back = os.path.relpath(folder, path.parent)
    own["components"] = [*own.get("components", []), *(f"{back}/components/{name}" for name in components)]
    path.write_text(yaml.safe_dump(own))
    return build(folder / overlay)


def comparable(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """By kind and name, without the hashes of ConfigMaps' names and each side's own annotation."""
    text = json.dumps(manifests)
    for name in {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "ConfigMap"}:
        text = text.replace(f'"{name}"', json.dumps(re.sub(r"-[a-z0-9]{10}$", "", name)))
    found: dict[tuple[str, str], Manifest] = {}
    for manifest in json.loads(text):
        _drop(manifest["metadata"], SECRET_NOTE)
        if manifest["kind"] == "Deployment":
            _drop(manifest["spec"]["template"]["metadata"], CHECKSUM)
        labels = manifest["metadata"].get("labels", {})
        if manifest["kind"] == "CronJob" or labels.get("app.kubernetes.io/name") == "analytics-refreshd-api":
            # kustomize sets it where the object is built within the base; nothing selects by it
            labels["app.kubernetes.io/part-of"] = "analytics-refreshd"
        for pod in _pods(manifest):
            for container in pod["containers"]:
                container["env"].sort(key=lambda variable: variable["name"])
            for volume in pod["volumes"]:
                volume.get("secret", {}).get("items", []).sort(key=lambda item: item["key"])
        key = (manifest["kind"], manifest["metadata"]["name"])
        assert key not in found
        found[key] = manifest
    return found


def _drop(metadata: Manifest, annotation: str) -> None:
    annotations = metadata.get("annotations", {})
    annotations.pop(annotation, None)
    if not annotations:
        metadata.pop("annotations", None)


def _pods(manifest: Manifest) -> list[Manifest]:
    if manifest["kind"] == "Deployment":
        return [manifest["spec"]["template"]["spec"]]
    return [manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]] if manifest["kind"] == "CronJob" else []


def test_the_chart_has_the_packages_version() -> None:
    """Version and appVersion are the package's, since the image's tag comes from there."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_every_value_is_in_the_schema() -> None:
    """A key of values.yaml that the schema lacks would be refused, and one that only it has be unknown to a reader."""

    def keys(schema: Manifest) -> dict[str, object]:
        return {name: keys(each) if "properties" in each else {} for name, each in schema["properties"].items()}

    def own(values: Manifest) -> dict[str, object]:
        return {name: own(each) if isinstance(each, dict) else {} for name, each in values.items()}

    known = keys(json.loads((CHART / "values.schema.json").read_text()))
    assert known.pop("global") == {}
    assert own(yaml.safe_load((CHART / "values.yaml").read_text())) == known


def test_the_charts_rules_are_the_shipped_ones() -> None:
    """The rules are written once: the chart links to them."""
    assert (CHART / "files" / "rules.yaml").resolve() == RULES.resolve()


def test_every_component_has_a_switch() -> None:
    """A component that is added to the manifests belongs in the chart, too."""
    present = {path.name for path in (KUBERNETES / "components").iterdir()}
    assert present - {"image"} == set(COMPONENTS)


def test_lint_finds_nothing() -> None:
    """helm lint --strict accepts the chart."""
    files = [f"--set-file=config={KUBERNETES / 'base/config.toml'}", f"--set-file=ca={KUBERNETES / 'base/ca.crt'}"]
    accepted(helm(), "lint", "--strict", CHART, *files)


@pytest.mark.parametrize("setting", ["replica=3", "mode=both", "verify.enable=true", "image.tags=1", "config="])
def test_a_wrong_value_is_refused(setting: str) -> None:
    """Misspelt keys, unknown modes, and a missing configuration are found before anything is sent."""
    files = [f"--set-file=ca={KUBERNETES / 'base/ca.crt'}", "--set=config=x"]
    refused = run(helm(), "template", "any", CHART, *files, "--set", setting)
    assert refused.returncode != 0
    assert "don't meet the specifications of the schema" in refused.stdout


@pytest.mark.slow
@pytest.mark.parametrize("components", [[], ["api"], [*COMPONENTS]], ids=["plain", "api", "components"])
def test_base_and_chart_are_equal(components: list[str], tmp_path: Path) -> None:
    """The chart's objects are those of kustomize's base, with no component and with each of them."""
    expected = kustomized(tmp_path / "kubernetes", "base", components)
    rendered = render(KUBERNETES / "base/config.toml", *(f"{COMPONENTS[name]}=true" for name in components))
    assert comparable(rendered) == comparable(expected)


@pytest.mark.slow
def test_the_chart_refreshes_by_cronjob_as_the_overlay_does(tmp_path: Path) -> None:
    """`mode: cronjob` renders the overlay of that name."""
    expected = kustomized(tmp_path / "kubernetes", "overlays/cronjob", [])
    assert comparable(render(KUBERNETES / "base/config.toml", "mode=cronjob")) == comparable(expected)


@pytest.mark.slow
def test_a_further_database_is_told_apart_as_in_the_overlay(tmp_path: Path) -> None:
    """`instance` names, labels and selects what the overlay of one of three databases does, Jobs included."""
    expected = kustomized(tmp_path / "kubernetes", "overlays/three-databases/orders", ["verify", "retain", "api"])
    configuration = KUBERNETES / "overlays/three-databases/orders/config.toml"
    rendered = render(
        configuration, "instance=orders", "verify.enabled=true", "retain.enabled=true", "api.enabled=true"
    )
    assert comparable(rendered) == comparable(expected)


def test_a_changed_configuration_rolls_the_pods() -> None:
    """The pods' annotation changes with the configuration."""

    def checksum(configuration: Path) -> str:
        (deployment,) = (each for each in render(configuration) if each["kind"] == "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"][CHECKSUM])

    paths = [KUBERNETES / "base/config.toml", KUBERNETES / "overlays/three-databases/orders/config.toml"]
    assert len({checksum(path) for path in paths}) == 2
