"""What PostgreSQL's types can hold, and what its versions can do."""

BIGGEST_INTEGER = 2**31 - 1
BIGGEST_BIGINT = 2**63 - 1
_MAINTAIN_SINCE = 170_000


def has_maintain(server_version: int) -> bool:
    """Whether the server knows the privilege MAINTAIN.

    `server_version` is libpq's number, such as 170002.
    """
    return server_version >= _MAINTAIN_SINCE
