"""The redaction that recent_failures stores is that of the reader's role."""

from pathlib import Path

from analytics_refreshd.postgres.connection.sqlfiles import blocks

_READER = Path(__file__).parents[2] / "deploy" / "sql" / "reader.sql"


def test_the_view_and_the_readers_function_redact_alike() -> None:
    """Both are the same expression, of another argument."""
    function = _READER.read_text().split("as $redacted$")[1].split("$redacted$")[0]
    ours = blocks("schema/redaction.sql")["redacted_error_message"]
    assert ours.split() == function.replace("left(message,", "left(r.error_message::text,").split()[1:]
