"""Whether logical replication and our schema get along."""

from collections.abc import Iterator

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.check.findings import Finding, error, ok, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA
from analytics_refreshd.postgres.schema.publications import (
    publications_of_new_tables,
    published,
    slots,
    subscriptions,
    unidentified_tables,
)

_PREPARE = "run on each subscriber what `analytics-refreshd migrate --subscriber-sql` prints"


def replication_findings(connection: BoundedConnection) -> Iterator[Finding]:
    """Findings on publications that send our tables, on their slots, and on subscriptions that write into them."""
    for name in subscriptions(connection):
        yield error(
            "replication",
            f"subscription {printable(name)} writes into {OUR_SCHEMA}: two databases' histories mix, or it stops",
            "publish a list of tables there instead of all, then ALTER SUBSCRIPTION ... REFRESH PUBLICATION here",
        )
    keyless = unidentified_tables(connection, only_published=True)
    if keyless:
        yield error(
            "replication",
            f"a publication sends {', '.join(map(printable, keyless))} of {OUR_SCHEMA}, without a replica identity: "
            "every refresh fails",
            "run `analytics-refreshd migrate` as their owner",
        )
    sent = sorted({one.publication for one in published(connection)})
    future = publications_of_new_tables(connection)
    if not sent and not future:
        return
    names = ", ".join(printable(name) for name in sent or future)
    found = slots(connection)
    if not sent:
        yield warning(
            "replication",
            f"publication {names} will send every table of {OUR_SCHEMA}: a subscriber without them stops",
            f"{_PREPARE}, then `analytics-refreshd migrate --accept-publication`",
        )
    elif any(not slot.active for slot in found):
        waiting = ", ".join(str(slot) for slot in found if not slot.active)
        yield error(
            "replication",
            f"publication {names} sends {OUR_SCHEMA}, and a logical slot has no receiver: {waiting}",
            f"look into the subscriber's log; where it lacks tables of {OUR_SCHEMA}, {_PREPARE}",
        )
    elif found:
        receiving = ", ".join(str(slot) for slot in found)
        yield ok("replication", f"publication {names} sends {OUR_SCHEMA}: {receiving}")
    else:
        yield warning(
            "replication", f"publication {names} sends {OUR_SCHEMA}: a subscriber without its tables stops", _PREPARE
        )
