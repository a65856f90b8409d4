"""The versions of PostgreSQL that this program is made for. `version_number` is a server's `server_version_num`."""

TESTED_VERSIONS = (15, 16, 17, 18)
"""The major versions that the tests run on. An older server is refused; of a newer one nothing is known."""


def too_old(version_number: int) -> bool:
    """Tell whether a server is older than all of them."""
    return version_number < TESTED_VERSIONS[0] * 10_000


def untested(version_number: int) -> bool:
    """Tell whether a server is newer than all of them."""
    return version_number // 10_000 > TESTED_VERSIONS[-1]
