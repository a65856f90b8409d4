"""Amazon ECS: what is registered fits the service's own models, and the daemon accepts its configuration."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from analytics_refreshd.config.loading import load
from tests.deploy.support import DEPLOY, accepted, tool
from tests.support.aws import misfits

ECS = DEPLOY / "ecs"
TEMPLATE = json.loads((ECS / "cloudwatch.json").read_text())
TASK = json.loads((ECS / "task-definition.json").read_text())
(CONTAINER,) = TASK["containerDefinitions"]
ENVIRONMENT = {each["name"]: each["value"] for each in CONTAINER["environment"]}


def test_the_task_definition_can_be_registered() -> None:
    """The model of ECS accepts every word of it, and would not accept another."""
    assert misfits("ecs", "RegisterTaskDefinition", TASK) == []
    assert misfits("ecs", "RegisterTaskDefinition", TASK | {"networkMode": "awsvcp"})
    assert misfits("ecs", "RegisterTaskDefinition", TASK | {"memoryMiB": "512"})


def test_the_service_can_be_created() -> None:
    """Two tasks of this definition, as the template counts them."""
    service = json.loads((ECS / "service.json").read_text())
    assert misfits("ecs", "CreateService", service) == []
    assert service["taskDefinition"] == TASK["family"]
    defaults = {name: each.get("Default") for name, each in TEMPLATE["Parameters"].items()}
    assert (service["desiredCount"], service["serviceName"]) == (defaults["Tasks"], defaults["Service"])
    assert service["cluster"] == defaults["Cluster"]


def test_the_daemon_accepts_the_tasks_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables are a whole configuration; the token's command asks for the database that they name."""
    for name in [name for name in os.environ if name.startswith("ANALYTICS_REFRESHD_")]:
        monkeypatch.delenv(name)
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert ENVIRONMENT["ANALYTICS_REFRESHD_DATABASE__SSLROOTCERT"] == "/etc/analytics-refreshd/rds-bundle.pem"
    monkeypatch.setenv("ANALYTICS_REFRESHD_DATABASE__SSLROOTCERT", str(bundle))
    database = load().database
    command = database.password_command or []
    assert command[2:] == [database.host, str(database.port), database.user]
    assert database.sslmode == "verify-full"
    recipe = (ECS / "Containerfile").read_text()
    assert f" {command[0]}\n" in recipe
    assert "/etc/analytics-refreshd/rds-bundle.pem\n" in recipe
    (statement,) = json.loads((ECS / "task-role-policy.json").read_text())["Statement"]
    assert statement["Action"] == "rds-db:connect"
    assert re.fullmatch(rf"arn:aws:rds-db:{command[1]}:\d{{12}}:dbuser:[\w-]+/{database.user}", statement["Resource"])


def test_the_container_is_confined_and_has_time_to_stop() -> None:
    """As in Kubernetes: no root, no capability, nothing to write, longer to stop than the daemon gives itself."""
    assert CONTAINER["user"] == "65532:65532"
    assert CONTAINER["readonlyRootFilesystem"] is True
    assert CONTAINER["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    assert 10 < CONTAINER["stopTimeout"] <= 120


def test_the_health_check_is_the_images() -> None:
    """ECS ignores what the image says, so the definition says the same."""
    recipe = (DEPLOY / "container" / "Containerfile").read_text()
    check = re.search(r"^HEALTHCHECK (.*?)\n\s+CMD (\[[^\n]*\])$", recipe, re.MULTILINE | re.DOTALL)
    assert check is not None
    options = dict(re.findall(r"--([a-z-]+)=(\d+)", check[1]))
    given = CONTAINER["healthCheck"]
    assert given["command"] == ["CMD", *json.loads(check[2])]
    assert [given["interval"], given["timeout"], given["startPeriod"], given["retries"]] == [
        int(options[name]) for name in ("interval", "timeout", "start-period", "retries")
    ]


def test_the_log_goes_where_the_template_looks() -> None:
    """The log group of the definition is the template's default, and a reader that hangs costs counted lines."""
    options = CONTAINER["logConfiguration"]["options"]
    assert options["awslogs-group"] == TEMPLATE["Parameters"]["LogGroup"]["Default"]
    assert options["mode"] == "blocking"


def test_hadolint_finds_nothing() -> None:
    """The recipe of the image with RDS's certificates follows the rules of the trade."""
    accepted(tool("hadolint"), ECS / "Containerfile")


class Credentials(BaseHTTPRequestHandler):
    """What ECS answers a task that asks for the credentials of its role."""

    def do_GET(self) -> None:
        """Answer as the documentation of ECS shows."""
        body = json.dumps(
            {"AccessKeyId": "AKIDOFTHETASK", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_the_command_prints_a_token_of_the_tasks_role() -> None:
    """Signed with what the container's own address of credentials gives, for this host and user, for 15 minutes."""
    server = HTTPServer(("127.0.0.1", 0), Credentials)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v2/credentials"
        done = subprocess.run(
            [sys.executable, ECS / "rds-token", "eu-central-1", "db.example.com", "5432", "analytics_refreshd"],
            env={"PATH": "/usr/bin:/bin", "AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 0, done.stderr
    (token,) = done.stdout.splitlines()
    assert token.startswith("db.example.com:5432/?Action=connect&DBUser=analytics_refreshd&")
    assert "X-Amz-Expires=900" in token
    assert "X-Amz-Credential=AKIDOFTHETASK" in token
    assert "X-Amz-Security-Token=t" in token


def test_the_lock_of_the_command_has_hashes() -> None:
    """pip can check what the image's build downloads."""
    text = (ECS / "requirements.lock").read_text()
    packages = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    assert "botocore" in packages
    assert len(re.findall("--hash=sha256:", text)) >= len(packages)
    assert "://" not in text
