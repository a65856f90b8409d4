"""The pages of the API, built from their sources with node."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

WEB = Path(__file__).parents[2] / "src" / "analytics_refreshd" / "api" / "web"
BUILT = WEB / "built"
_SECONDS = 200


class NotBuiltError(Exception):
    """The pages cannot be built here; the text says why. It says nothing of the sources."""


def sources_hash() -> str:
    """Hash what the pages are built from, as `build.mjs` does."""
    named = [WEB / name for name in ("build.mjs", "package-lock.json", "package.json", "tsconfig.json")]
    files = [*named, *(path for path in (WEB / "src").rglob("*") if path.is_file())]
    found = hashlib.sha256()
    for path in sorted(files, key=lambda each: each.relative_to(WEB).as_posix()):
        found.update(path.relative_to(WEB).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def bundled() -> Iterator[tuple[str, str, str]]:
    """Yield name, locked version and licence of every package that the pages hold a part of."""
    locked = json.loads((WEB / "package-lock.json").read_text("utf-8"))["packages"]
    for place, package in locked.items():
        if place and not package.get("dev"):
            yield place.rpartition("node_modules/")[2], package["version"], package["license"]


def build(folder: Path) -> Path:
    """Build from a copy of the sources in `folder`, where it checks their types; return what was built.

    Raises NotBuiltError, and CalledProcessError where the sources are wrong.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotBuiltError("node and npm are not installed (Debian: npm)")
    copy = folder / "web"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("built", "node_modules", "__pycache__"))
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=copy, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise NotBuiltError(f"npm could not install what the pages are built with: {done.stderr.strip()[-200:]}")
    for step in ("check", "build"):
        done = subprocess.run(
            ["npm", "run", "--silent", step], cwd=copy, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, step, done.stdout, done.stderr)
    return copy / "built"


def outdated(built: Path) -> list[str]:
    """Return the committed files that are not those of `built`, by name."""
    names = {path.name for folder in (built, BUILT) if folder.exists() for path in folder.iterdir()}
    return sorted(name for name in names if _content(built / name) != _content(BUILT / name))


def replace(built: Path) -> None:
    """Put what was built where it is committed."""
    shutil.rmtree(BUILT, ignore_errors=True)
    shutil.copytree(built, BUILT)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
