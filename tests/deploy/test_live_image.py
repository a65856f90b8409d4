"""The image is built from its recipe by buildah, and runs as Kubernetes would run it."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.support import DEPLOY, accepted, copy_sources, tool
from tests.support.pip import pip
from tests.support.postgres import Server, free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(1200)]
IMAGE = "localhost/analytics-refreshd-test"
BASE = "localhost/python-base-test"
EPOCH = "1767225600"
_REFRESHED = re.compile(r'^analytics_runs_total\{[^}]*outcome="ok"[^}]*\} [1-9]', re.MULTILINE)


class Buildah:
    """buildah with a store of its own, without a registry."""

    def __init__(self, store: Path) -> None:
        self.folder = store
        self.words = [tool("buildah"), "--root", str(store / "root"), "--runroot", str(store / "run")]
        self.environment = os.environ | {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

    def __call__(self, *words: str | Path) -> str:
        """Run one command; returns what it printed."""
        done = subprocess.run(
            [*self.words, *map(str, words)], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-1500:]} {done.stderr[-1500:]}"
        return done.stdout.strip()


def offline(folder: Path, wheels: Path) -> list[str]:
    """What lets pip in a build find the wheels, and nothing else."""
    settings = folder / "pip.conf"
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    return ["--volume", f"{wheels}:/wheels:ro", "--volume", f"{settings}:/etc/pip.conf:ro"]


def build(buildah: Buildah, wheels: Path, tag: str, *words: str) -> None:
    """Build the image from the context in the store's folder, each file and layer dated by one time."""
    context = buildah.folder / "context"
    recipe = context / "deploy" / "container" / "Containerfile"
    given = ["--format", "docker", "--timestamp", EPOCH]
    for name, value in (("PYTHON_IMAGE", BASE), ("SOURCE_DATE_EPOCH", EPOCH)):
        given += ["--build-arg", f"{name}={value}"]
    buildah("build", "-q", *given, *words, *offline(buildah.folder, wheels), "-f", recipe, "-t", tag, context)


def python_base(buildah: Buildah, debian: Path) -> None:
    """Make the base image of a Debian tree."""
    scratch = buildah("from", "scratch")
    buildah("copy", "-q", scratch, debian, "/")
    shutil.rmtree(Path(buildah("mount", scratch)) / "opt" / "analytics-refreshd", ignore_errors=True)
    buildah("umount", scratch)
    buildah("commit", "-q", "--rm", scratch, BASE)


def layers_of(buildah: Buildah, image: str) -> list[object]:
    """The layers of an image, by their digests."""
    layers: list[object] = json.loads(json.loads(buildah("inspect", "--type", "image", image))["Manifest"])["layers"]
    return layers


@pytest.fixture(scope="module")
def built(debian: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """A store that holds the image."""
    folder = tmp_path_factory.mktemp("image")
    buildah = Buildah(folder)
    python_base(buildah, debian)
    context = folder / "context"
    context.mkdir()
    copy_sources(context)
    shutil.copytree(DEPLOY / "container", context / "deploy" / "container")
    build(buildah, wheels, IMAGE)
    yield buildah
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mounted(buildah: Buildah, image: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """An image's files and its configuration."""
    configuration: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    container = buildah("from", image)
    yield Path(buildah("mount", container)), configuration
    buildah("umount", container)


@pytest.fixture(scope="module")
def image(built: Buildah) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The built image's mounted files and its configuration."""
    with mounted(built, IMAGE) as found:
        yield found


def test_the_image_runs_without_rights_on_a_read_only_root(
    image: tuple[Path, dict[str, Any]], reachable: Server
) -> None:
    """As its own user, with nothing writable, it refreshes, answers its health check, and stops well."""
    root, configuration = image
    port = free_port()
    settings = {"DATABASE__URL": reachable.dsn(), "SCHEDULE__INTERVAL": "2s", "HTTP__PORT": port}
    variables = [*configuration["Env"], *(f"ANALYTICS_REFRESHD_{name}={value}" for name, value in settings.items())]
    enter = [tool("bash"), str(Path(__file__).with_name("enter-image.sh")), str(root)]
    command = [*configuration["Entrypoint"], *configuration["Cmd"]]
    with subprocess.Popen([*enter, *variables, "--", *command], stderr=subprocess.PIPE, text=True) as process:
        try:
            metrics = f"http://127.0.0.1:{port}/metrics"
            eventually(lambda: _REFRESHED.search(_read(metrics)), within=60)
            pid = _daemon(process.pid)
            status = dict(
                line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
            )
            assert status["Uid"].split() == ["65532"] * 4
            assert int(status["CapEff"], 16) == 0
            inside = ["nsenter", "-t", str(pid), "-m", "-r", "-w", "--"]
            touched = subprocess.run([*inside, "touch", "/opt/x"], capture_output=True, text=True, check=False)
            assert "Read-only file system" in touched.stderr
            check = configuration["Healthcheck"]["Test"][1:]
            accepted(*inside, "env", f"ANALYTICS_REFRESHD_HTTP__PORT={port}", *check)
            os.kill(pid, signal.SIGTERM)
            _, log = process.communicate(timeout=30)
            assert process.returncode == 0
            assert '"event":"daemon.stopped"' in log
        finally:
            process.kill()


def test_the_image_holds_no_compiler_and_no_root_user(image: tuple[Path, dict[str, Any]]) -> None:
    """Nothing of the build stage is left, and the user is a number that Kubernetes can judge."""
    root, configuration = image
    assert configuration["User"] == "65532:65532"
    assert not any((root / "usr/bin" / name).exists() for name in ("gcc", "cc", "make"))
    assert not (root / "build").exists()
    assert not list((root / "opt/analytics-refreshd/lib").glob("python*/site-packages/pip"))


def test_the_image_built_again_has_the_same_layers(built: Buildah, wheels: Path) -> None:
    """From the same sources, on the same base and with the same date, byte by byte.

    Its digest differs all the same: Docker's format names the container that built it.
    """
    again = f"{IMAGE}-again"
    build(built, wheels, again, "--no-cache")
    layers = [layers_of(built, each) for each in (IMAGE, again)]
    assert len(layers[0]) > 1
    assert layers[1] == layers[0]


def test_the_image_for_ecs_has_certificates_and_a_command_for_tokens(
    built: Buildah, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On top of the plain one, with its user and its command; the token is made without rights on a read-only root."""
    folder = tmp_path_factory.mktemp("ecs")
    shutil.copytree(DEPLOY / "ecs", folder / "context" / "deploy" / "ecs")
    (folder / "context" / "deploy" / "ecs" / "global-bundle.pem").write_text("# certificates\n")
    download = ["download", "--require-hashes", "--only-binary", ":all:", "--python-version", "3.11"]
    wheels = folder / "wheels"
    pip(*download, "--dest", wheels, "-r", DEPLOY / "ecs" / "requirements.lock")
    recipe = folder / "context" / "deploy" / "ecs" / "Containerfile"
    base = ["--build-arg", f"IMAGE={IMAGE}"]
    words: list[str | Path] = [
        "build",
        "-q",
        "--format",
        "docker",
        *base,
        *offline(folder, wheels),
        "-f",
        recipe,
        "-t",
        f"{IMAGE}-ecs",
    ]
    built(*words, folder / "context")
    with mounted(built, f"{IMAGE}-ecs") as (root, configuration):
        assert (configuration["User"], configuration["Cmd"]) == ("65532:65532", ["run"])
        bundle = root / "etc/analytics-refreshd/rds-bundle.pem"
        assert stat.S_IMODE(bundle.stat().st_mode) == 0o644
        variables = [*configuration["Env"], "AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=secret"]
        enter: list[str | Path] = [tool("bash"), Path(__file__).with_name("enter-image.sh"), root]
        command = ["/opt/rds-token/bin/rds-token", "eu-central-1", "db.example.com", "5432", "analytics_refreshd"]
        token = accepted(*enter, *variables, "--", *command)
        assert token.startswith("db.example.com:5432/?Action=connect&DBUser=analytics_refreshd&")


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def _daemon(parent: int) -> int:
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)
