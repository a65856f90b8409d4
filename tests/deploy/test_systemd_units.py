"""The units, judged by systemd itself."""

import os
import shutil
from pathlib import Path

import pytest

from tests.deploy.support import SYSTEMD, accepted, tool

UNITS = sorted(path.name for path in SYSTEMD.iterdir())
PASSWORD = "analytics-refreshd-password"
SERVICES = [name for name in UNITS if name.endswith(".service") and not name.startswith(PASSWORD)]
DAEMONS = ["analytics-refreshd.service", "analytics-refreshd@.service"]
COMMAND = "/opt/analytics-refreshd/bin/analytics-refreshd"


def lines(name: str) -> list[str]:
    """A unit's assignments, without comments."""
    return [line for line in (SYSTEMD / name).read_text().splitlines() if line and not line.startswith("#")]


def settings(name: str) -> dict[str, list[str]]:
    """A unit's assignments by key."""
    found: dict[str, list[str]] = {}
    for line in lines(name):
        if not line.startswith("["):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def sandbox(name: str) -> list[str]:
    """What confines a service, from CapabilityBoundingSet to the section's end."""
    unit = lines(name)
    start = unit.index("CapabilityBoundingSet=")
    end = next((index for index, line in enumerate(unit) if index > start and line.startswith("[")), len(unit))
    # as many connections as a service takes need as many descriptors
    return [line for line in unit[start:end] if not line.startswith("LimitNOFILE=")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with systemd's own units, ours, and the commands where ours expect them."""
    if not Path("/usr/lib/systemd/system/sysinit.target").exists():
        pytest.skip("systemd's own units are not installed")
    tree = tmp_path_factory.mktemp("root")
    shutil.copytree("/usr/lib/systemd/system", tree / "usr/lib/systemd/system", symlinks=True)
    shutil.copytree(SYSTEMD, tree / "etc/systemd/system")
    for command in (COMMAND, "/bin/kill", "/bin/systemctl"):
        path = tree / command.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tree


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_every_line_of_a_unit(unit: str, root: Path) -> None:
    """systemd-analyze finds no unknown key, no missing unit and no command that is not there."""
    accepted(
        tool("systemd-analyze"),
        "verify",
        "--recursive-errors=yes",
        "--man=no",
        f"--root={root}",
        root / "etc/systemd/system" / unit,
    )


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_confined(unit: str) -> None:
    """systemd's own measure of exposure is at most 1.5 of 10."""
    output = accepted(
        tool("systemd-analyze"), "security", "--offline=true", "--no-pager", "--threshold=15", SYSTEMD / unit
    )
    assert "Overall exposure level" in output


@pytest.mark.parametrize("unit", SERVICES)
def test_every_service_has_the_same_sandbox(unit: str) -> None:
    """A line added to one service's sandbox is missing in none."""
    assert sandbox(unit) == sandbox("analytics-refreshd.service")


def test_the_template_is_the_single_service_with_a_name() -> None:
    """The two daemons' units differ in nothing but the instance's name."""
    single = [line for line in lines("analytics-refreshd.service") if not line.startswith("Description")]
    template = [line for line in lines("analytics-refreshd@.service") if not line.startswith("Description")]
    named = [
        line.replace("analytics-refreshd-%i", "analytics-refreshd")
        .replace("%i.toml", "config.toml")
        .replace("%i.password", "config.password")
        .replace(f"{PASSWORD}@%i", PASSWORD)
        for line in template
    ]
    assert named == single


@pytest.mark.fault
@pytest.mark.parametrize("unit", DAEMONS)
def test_D12_a_daemon_is_supervised_without_a_restart_storm(unit: str) -> None:
    """It tells when it is ready, is killed when it hangs, returns, and stays down when its configuration is refused."""
    given = settings(unit)
    assert given["Type"] == ["notify"]
    assert int(given["WatchdogSec"][0]) >= 30
    assert given["Restart"] == ["on-failure"]
    assert given["RestartPreventExitStatus"] == ["78"]
    assert int(given["RestartSec"][0]) >= 5
    assert (given["StartLimitIntervalSec"], given["StartLimitBurst"]) == (["300"], ["10"])
    assert given["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert given["DynamicUser"] == ["yes"]


def test_the_api_is_supervised_as_the_daemon_is() -> None:
    """It tells when it serves, is killed when it hangs, stays down when its configuration is refused."""
    given, daemon = settings("analytics-refreshd-api@.service"), settings("analytics-refreshd@.service")
    for key in (
        "Type",
        "WatchdogSec",
        "Restart",
        "RestartSec",
        "RestartPreventExitStatus",
        "StartLimitIntervalSec",
        "StartLimitBurst",
    ):
        assert given[key] == daemon[key], key
    assert given["User"] != daemon["User"]
    assert given["LoadCredential"] == [
        "password:/etc/analytics-refreshd/%i-api.password",
        "api-secret:/etc/analytics-refreshd/%i-api.secret",
    ]
    assert "ANALYTICS_REFRESHD_API__SECRET_FILE=%d/api-secret" in given["Environment"]


@pytest.mark.parametrize("unit", SERVICES)
def test_the_time_to_stop_exceeds_the_shutdown_deadline(unit: str) -> None:
    """systemd waits longer than the ten seconds that the daemon gives itself."""
    assert int(settings(unit)["TimeoutStopSec"][0]) > 10


@pytest.mark.parametrize("unit", SERVICES)
def test_a_secret_comes_as_a_credential(unit: str) -> None:
    """The password reaches the process as a file that only it can read."""
    given = settings(unit)
    assert given["LoadCredential"][0].startswith("password:/etc/analytics-refreshd/")
    assert "ANALYTICS_REFRESHD_DATABASE__PASSWORD_FILE=%d/password" in given["Environment"]
    assert given["ExecStart"][0].startswith(COMMAND)
    assert os.path.basename(COMMAND) == "analytics-refreshd"


@pytest.mark.fault
def test_L19_the_password_that_a_daemon_gets_is_watched() -> None:
    """Each daemon wants the path unit of its own credential's file, and that one restarts this daemon."""
    for daemon, path, service, file in (
        ("analytics-refreshd.service", f"{PASSWORD}.path", f"{PASSWORD}.service", "config.password"),
        ("analytics-refreshd@.service", f"{PASSWORD}@.path", f"{PASSWORD}@.service", "%i.password"),
    ):
        given = settings(daemon)
        assert path.replace("@", "@%i") in given["Wants"][0].split()
        watched = f"/etc/analytics-refreshd/{file}"
        assert given["LoadCredential"] == [f"password:{watched}"]
        assert settings(path)["PathChanged"] == [watched]
        assert settings(service)["ConditionFileNotEmpty"] == [watched]
        assert settings(service)["ExecStart"][0].endswith(f" try-restart {daemon.replace('@', '@%i')}")
