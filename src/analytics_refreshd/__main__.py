"""The entry point of `analytics-refreshd` and of `python -m analytics_refreshd`."""


def main() -> int:
    """Run the command line and return the exit code.

    The import takes a second, and is made here so that a Ctrl-C within it ends as one at any other time does.
    """
    try:
        from analytics_refreshd.cli import main as command_line

        return command_line()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
