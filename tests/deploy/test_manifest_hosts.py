"""Who asks a pod by a Service's name gets an answer."""

import re
import tomllib
from pathlib import Path

import pytest

from analytics_refreshd.config.adapters import http_names
from analytics_refreshd.config.sections import Config
from analytics_refreshd.observe.http_hosts import host_allowed
from tests.deploy.support import DEPLOY

CONFIGURATIONS = sorted((DEPLOY / "kubernetes").rglob("config.toml"))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_the_shipped_configuration_knows_the_services_names(path: Path) -> None:
    """The kubelet and a ServiceMonitor ask it by address, people and other programs by the Service's name."""
    names = http_names(Config.model_validate(tomllib.loads(path.read_text())))
    for host in ("10.1.2.3:9720", "[fd00::12]:9720", "localhost:9720"):
        assert host_allowed(host, names)
    service = "analytics-refreshd" if path.parent.name == "base" else f"analytics-refreshd-{path.parent.name}"
    for suffix in ("svc", "svc.cluster.local"):
        assert host_allowed(f"{service}.analytics.{suffix}:9720", names)
    assert not host_allowed("evil.example", names)


def test_the_guide_lists_the_names_it_scrapes_by() -> None:
    """The targets of its Prometheus example are those it says to put into `[http] hosts`."""
    guide = (DEPLOY / "guides" / "install.md").read_text()
    (targets,) = re.findall(r"targets: \[(.+?)\]", guide)
    (hosts,) = re.findall(r"`\[http\] hosts`, here `\[(.+?)\]`", guide)
    assert [target.removesuffix(":9720") for target in targets.split(", ")] == [
        host.strip('"') for host in hosts.split(", ")
    ]
