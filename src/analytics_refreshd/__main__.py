"""`python -m analytics_refreshd`."""

from analytics_refreshd.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
