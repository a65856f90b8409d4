"""The entry point of `analytics-refreshd` and of `python -m analytics_refreshd`."""

import os
import sys


def main() -> int:
    """Run the command line and return the exit code.

    The import takes a second, and is made here so that a Ctrl-C within it ends as one at any other time does.
    """
    _replace_closed_streams()
    try:
        from analytics_refreshd.cli import main as command_line

        return command_line()
    except KeyboardInterrupt:
        return 130


def _replace_closed_streams() -> None:
    """Open /dev/null in place of standard streams that were closed before the start.

    Otherwise the next socket would be standard output, and Python's own stream would be None. What is needed fails:
    standard input cannot be read, and standard output not written. Standard error takes everything.
    """
    for number, name, flags, mode in (
        (0, "stdin", os.O_WRONLY, "r"),
        (1, "stdout", os.O_RDONLY, "w"),
        (2, "stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))


if __name__ == "__main__":
    raise SystemExit(main())
