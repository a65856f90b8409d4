"""Finds the SQLSTATE of a message that a function reports alone.

An older install catches a view's error and returns SQLERRM: without the SQLSTATE every failure would have the reason
"other". The texts are PostgreSQL's own, as its sources have them; a server whose lc_messages is another language has
others, and they stay unknown.
"""

import re

_TEXTS = (
    (r"canceling statement due to lock timeout|could not obtain lock on ", "55P03"),
    (r"canceling statement due to (statement timeout|user request)", "57014"),
    (r"deadlock detected", "40P01"),
    (r"could not serialize access ", "40001"),
    (r"cannot execute .* (in a read-only transaction|during recovery)$", "25006"),
    (r"permission denied for |must be owner of |must be (a )?superuser", "42501"),
    (r"(relation|table|view|materialized view) .* does not exist$", "42P01"),
    (r"column .* does not exist$", "42703"),
    (r"(function|procedure|operator) .* does not exist$", "42883"),
    (r"schema .* does not exist$", "3F000"),
    (r"CONCURRENTLY cannot be used when the materialized view is not populated$", "0A000"),
    (r".* is not a materialized view$", "0A000"),
    (r"cannot refresh materialized view .* concurrently$", "55000"),
    (r"materialized view .* has not been populated$", "55000"),
    (r"new data for materialized view .* contains duplicate rows", "21000"),
    (r"more than one row returned by a subquery", "21000"),
    (r"division by zero$", "22012"),
    (r"numeric field overflow$|(value .*|smallint|integer|bigint|interval) out of range", "22003"),
    (r"(date/time field value|timestamp|date) out of range", "22008"),
    (r"invalid input syntax for type (timestamp|date|time|interval)", "22007"),
    (r"invalid input (syntax for|value for enum)", "22P02"),
    (r"value too long for type ", "22001"),
    (r"invalid byte sequence for encoding ", "22021"),
    (r"duplicate key value violates unique constraint |could not create unique index ", "23505"),
    (r"null value in column ", "23502"),
    (r"could not .*: No space left on device$|could not extend file .*: wrote only ", "53100"),
    (r"temporary file size exceeds temp_file_limit", "53400"),
    (r"out of (shared )?memory$|memory alloc request size ", "53200"),
    (r"(sorry, )?too many (clients|connections)|remaining connection slots ", "53300"),
    (r"could not (open|read|write|access|fsync|stat) (file|block|directory) ", "58030"),
    (r"index row (size|requires) ", "54000"),
    (r"invalid page in block |could not read block .* read only ", "XX001"),
)
_PATTERNS = tuple((re.compile(text), sqlstate) for text, sqlstate in _TEXTS)
_LONGEST = 1000


def sqlstate_of(message: str) -> str | None:
    """Return the SQLSTATE with which PostgreSQL raises `message`.

    None for a text that is not one of its own.
    """
    first_line = message[:_LONGEST].partition("\n")[0]
    return next((sqlstate for pattern, sqlstate in _PATTERNS if pattern.match(first_line)), None)
