"""Which tests a plain `pytest` runs: those of every area that are quick. `--full` runs all but the nightly ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROCESSES = "acceptance"
"""The folder whose tests drive whole processes: of these a plain run takes what is marked `quick`."""
TOGETHER = {
    "tests/deploy/test_kubernetes_api.py": "kubernetes",
    "tests/deploy/test_kubernetes_manifests.py": "kubernetes",
    "tests/deploy/test_live_image.py": "debian",
    "tests/deploy/test_release.py": "debian",
    "tests/deploy/test_live_oncall.py": "debian",
    "tests/deploy/test_live_systemd.py": "debian",
    "tests/acceptance/test_demo_real_log.py": "real log",
    "tests/acceptance/test_collection.py": "collection",
    "tests/acceptance/test_incident.py": "incident",
    "tests/acceptance/test_incremental_crash.py": "crash",
    "tests/acceptance/test_page_browser.py": "browser",
    "tests/acceptance/test_pages_browser.py": "pages",
    "tests/integration/test_api_frozen.py": "frozen",
    "tests/integration/test_api_warehouse.py": "api of a warehouse",
}
"""Files whose tests share what takes long to make: one process runs all of a name."""


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what only `--full`, `.ci/nightly` or a name on the command line runs."""
    if _named(config):
        return
    runs: Callable[[pytest.Item], bool] = _by_day if config.getoption("--full") else _quick
    left_out = [item for item in items if not runs(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if runs(item)]


def quick_files(items: list[pytest.Item], root: Path) -> set[str]:
    """Name the files, below `root`, of which a plain run takes a test."""
    return {item.path.relative_to(root).as_posix() for item in items if _quick(item)}


def _named(config: pytest.Config) -> bool:
    """Whether `-k`, `-m` or a path to a file or test says what to run."""
    named = any(argument.split("::")[0].endswith(".py") for argument in config.args)
    return bool(config.getoption("keyword") or config.getoption("markexpr") or named)


def _by_day(item: pytest.Item) -> bool:
    return item.get_closest_marker("nightly") is None


def _quick(item: pytest.Item) -> bool:
    if PROCESSES in item.path.parts and item.get_closest_marker("quick") is None:
        return False
    return _by_day(item) and item.get_closest_marker("slow") is None


def scheduler(config: pytest.Config, log: Any) -> object | None:
    """pytest-xdist's scheduler for `--numprocesses`: test by test, but for those that belong together."""
    if config.getoption("dist") != "load":
        return None
    # its own loadgroup marks tests in their ids, which this pytest does not let it
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc,unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER.get(nodeid.partition("::")[0], nodeid)

    return Together(config, log)
