"""Writes every generated file; with --check, names those that are out of date and exits 1."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.generate import web
from tests.generate.files import ROOT, generated


def main(arguments: list[str]) -> int:
    """Write, or with `--check` compare."""
    check = arguments == ["--check"]
    outdated = [path for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in outdated:
        print(path.relative_to(ROOT))
        if not check:
            path.write_text(generated()[path], "utf-8")
    pages = _pages(check=check)
    return 1 if check and (outdated or pages) else 0


def _pages(*, check: bool) -> list[str]:
    """Build the pages, and write or compare them. Return the names of files that were out of date."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            built = web.build(Path(folder))
        except web.NotBuiltError as error:
            print(f"the pages of the API were not built: {error}", file=sys.stderr)
            return []
        except subprocess.CalledProcessError as error:
            print(f"the pages of the API: {error.cmd} fails\n{error.output}{error.stderr}", file=sys.stderr)
            return [str(error.cmd)]
        found = web.outdated(built)
        for name in found:
            print((web.BUILT / name).relative_to(ROOT))
        if found and not check:
            web.replace(built)
        return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
