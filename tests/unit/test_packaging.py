"""What an installation brings along: all that is imported, and the licence."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "analytics_refreshd"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _imported() -> set[str]:
    """The top-level modules that the product imports, its own and Python's left out."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {SOURCE.name}


def test_whatever_is_imported_is_declared() -> None:
    """No module comes by way of another package, which may drop it."""
    given = PROJECT["dependencies"] + [
        each for extra in ("api", "demo", "demo-warehouse", "otel") for each in PROJECT["optional-dependencies"][extra]
    ]
    declared = {re.split(r"[^\w.-]", each)[0].lower() for each in given}
    bringing = packages_distributions()
    undeclared = {
        name for name in _imported() if not declared & {each.lower().replace("_", "-") for each in bringing[name]}
    }
    assert undeclared == set()


def test_the_licence_comes_along() -> None:
    """An installation carries the text of the licence that it names."""
    installed = distribution("analytics-refreshd")
    assert installed.metadata["License-Expression"] == PROJECT["license"]
    (named,) = PROJECT["license-files"]
    text = installed.read_text(f"licenses/{named}") or ""
    assert text == (ROOT / named).read_text()
    assert text.lstrip().startswith("Apache License")


def test_the_daemon_loads_no_package_of_an_extra() -> None:
    """Who only refreshes needs none of what the extras bring, nor memory for it."""
    only = {"anyio", "google", "jwt", "limits", "numpy", "opentelemetry", "pandas", "psycopg_pool"}
    only |= {"chdb", "pyarrow", "requests", "starlette", "uvicorn"}
    program = (
        "import sys, analytics_refreshd.cli.main, analytics_refreshd.app.daemon, analytics_refreshd.demo.session,"
        " analytics_refreshd.app.commands.query, analytics_refreshd.config; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & only
