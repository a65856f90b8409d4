"""Writes every generated file; with --check, names those that are out of date and exits 1."""

import sys

from tests.generate.files import ROOT, generated


def main(arguments: list[str]) -> int:
    """Write, or with `--check` compare."""
    outdated = [path for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in outdated:
        print(path.relative_to(ROOT))
        if arguments != ["--check"]:
            path.write_text(generated()[path], "utf-8")
    return 1 if outdated and arguments == ["--check"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
