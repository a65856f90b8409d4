"""Options of the `migrate` command."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

Uninstall = Annotated[bool, typer.Option("--uninstall", help="Drop our schema. The views and your data stay.")]
ToIncremental = Annotated[
    bool, typer.Option("--incremental", help="Switch to incremental refreshes, which read only what changed.")
]
SubscriberSql = Annotated[
    bool, typer.Option("--subscriber-sql", help="Print SQL for subscribers of a publication of all tables.")
]
AcceptPublication = Annotated[
    bool, typer.Option("--accept-publication", help="Go on: every subscriber has run that SQL.")
]
DiscardFrozen = Annotated[
    datetime | None,
    typer.Option(
        "--discard-frozen",
        metavar="DATE",
        formats=["%Y-%m-%d"],
        help="With --plain, --uninstall, --import-frozen: let frozen figures go. DATE is the day of the horizon.",
    ),
]
Tenants = Annotated[
    bool,
    typer.Option("--tenants", help="Add what the API needs: keys. Also with --status, --dry-run, --subscriber-sql."),
]
Redact = Annotated[
    bool | None,
    typer.Option(
        "--redact-failures/--no-redact-failures",
        help="Let recent_failures store error messages redacted, and no answers. Also with --status, --dry-run.",
        show_default=False,
    ),
]
Warehouse = Annotated[
    bool | None,
    typer.Option(
        "--warehouse/--no-warehouse",
        help="Create what feeds the warehouse, or drop it. With --verify: compare the warehouse with the rollups.",
        show_default=False,
    ),
]
ExportFrozen = Annotated[
    Path | None, typer.Option("--export-frozen", metavar="FILE", help="Write frozen figures to a new file (.gz packs).")
]
ImportFrozen = Annotated[
    Path | None, typer.Option("--import-frozen", metavar="FILE", help="Take in frozen figures that were exported.")
]
