"""The demo's ClickHouse with the tables of a database behind the row policies.

    python -m tests.support.walled_clickhouse DATABASE DIRECTORY PASSWORD_FILE

chdb takes policies from a file of users alone, for its one user, and knows no settings of one's own: two of its texts
that mean nothing in a SELECT stand for them, in policies and requests.
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

from analytics_refreshd.demo.clickhouse import serve
from analytics_refreshd.warehouse.tenants import DATABASE, ORGANIZATIONS, conditions

STANDING_FOR = {DATABASE: "log_comment", ORGANIZATIONS: "insert_deduplication_token"}
_CONFIGURATION = "<clickhouse><users_config>{folder}/users.xml</users_config></clickhouse>"
_USERS = (
    "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password/>"
    "<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>"
    "<databases><{database}>{filters}</{database}></databases></default></users></clickhouse>"
)


def _configured(folder: Path, database: str) -> Path:
    """Write the files by which the tables of a database stand behind the row policies."""
    filters = "".join(
        f"<{table}><filter>{escape(_standing(condition))}</filter></{table}>"
        for table, condition in conditions(database).items()
    )
    folder.mkdir()
    (folder / "users.xml").write_text(_USERS.format(database=database, filters=filters))
    (folder / "config.xml").write_text(_CONFIGURATION.format(folder=folder))
    return folder / "config.xml"


def _standing(condition: str) -> str:
    for name, other in STANDING_FOR.items():
        condition = condition.replace(name, other)
    return condition


def _main(database: str, directory: str, password_file: str) -> None:
    config = _configured(Path(directory).with_name("users"), database)
    serve(directory, password_file, config=config, renamed=STANDING_FOR)


if __name__ == "__main__":
    _main(*sys.argv[1:])
