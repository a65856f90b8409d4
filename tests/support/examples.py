"""How many examples a property is tried with: its own number by day, more in .ci/nightly."""

import os


def examples(by_day: int) -> int:
    """That many, or what REFRESHD_TEST_EXAMPLES says where that is more."""
    return max(by_day, int(os.environ.get("REFRESHD_TEST_EXAMPLES", "0")))
