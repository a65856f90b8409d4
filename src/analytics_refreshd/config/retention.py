"""The section of retention."""

from datetime import timedelta
from typing import Annotated, Literal

from analytics_refreshd.config.values import Duration, Section, between


class RetentionSection(Section):
    """How long rows are kept, and what becomes of their figures.

    `rows` is at least 31 days: the views read 30, and the horizon is a day ahead. `migrate` writes it to the database,
    which every refresh asks.
    """

    rows: Annotated[Duration, between("31d")] = timedelta(days=90)
    horizon: Literal["auto", "off"] | None = None
    keep: Literal["rollups", "nothing"] = "rollups"
