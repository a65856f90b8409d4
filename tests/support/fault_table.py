"""Which rows of the fault matrix have a test: the table in tests/acceptance/README.md, written from the collection."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

SECTIONS = {
    "A": "Database",
    "B": "Network",
    "C": "Scheduler and time",
    "D": "Process life cycle",
    "E": "Configuration",
    "F": "Alert delivery",
    "G": "Metrics and HTTP",
    "H": "Security",
    "L": "Green lights over broken things",
    "P": "The API: bad input and trouble",
    "R": "Retention, partitions and erasure in trouble",
    "W": "The warehouse in trouble",
}

ROWS = {
    "A01": "Backend terminated mid-refresh",
    "A02": "Idle connection terminated between runs",
    "A03": "Fast restart of the server",
    "A04": "Immediate shutdown / server crash",
    "A05": "Postmaster killed, backend survives",
    "A06": "Server in recovery or starting",
    "A07": "Outcome unknown: connection lost after commit",
    "A08": "`statement_timeout` in view 3",
    "A09": "Lock contention on one view",
    "A10": "All rows `success=false` but the call returned",
    "A11": "One view dropped",
    "A12": "Unique index missing, partial or invalid",
    "A13": "Duplicate rows in new data",
    "A14": "View not populated",
    "A15": "Function missing or wrong signature",
    "A16": "Function returns 0 rows, fewer views than expected, an unknown view, NULLs or a negative duration",
    "A17": "Permission lost",
    "A18": "Read-only standby reached",
    "A19": "Promotion while connected",
    "A20": "Disk full in tablespace",
    "A21": "Temporary space exhausted",
    "A22": "Too many connections",
    "A23": "History table missing, locked, full or read-only",
    "A24": "History table grows without limit",
    "A25": "Status function slow or failing",
    "A26": "NOTICE or WARNING flood from the function",
    "B01": "Half-open TCP mid-refresh",
    "B02": "`keepalives=0` with `tcp_user_timeout` set",
    "B03": "Server process stopped, TCP alive",
    "B04": "Cancel request also hangs",
    "B05": "Connect hangs",
    "B06": "DNS failure or slow resolver",
    "B07": "DNS answer changes after failover",
    "B08": "Multi-host list, first dead or read-only",
    "B09": "Connection reset mid-result",
    "B10": "High latency or low bandwidth",
    "B11": "PgBouncer in transaction mode in between",
    "C01": "Run longer than the interval (7 of 5 min)",
    "C02": "Clock jumps forward 1 h",
    "C03": "Clock jumps back 1 h",
    "C04": "Clock jumps by years",
    "C05": "DST change",
    "C06": "Suspend and resume, VM pause",
    "C07": "Scheduler thread dies",
    "C08": "Job raises `SystemExit` or any exception",
    "C09": "Listener raises",
    "C10": "Executor starved",
    "C11": "Thundering herd at start",
    "C12": "Replica and server clocks differ",
    "C13": "Retry budget overlaps the next slot",
    "D01": "SIGTERM while idle",
    "D02": "SIGTERM during a refresh",
    "D03": "SIGTERM, server does not answer",
    "D04": "SIGTERM during backoff",
    "D05": "Second SIGTERM or SIGINT",
    "D06": "SIGKILL, OOM kill",
    "D07": "`shutdown(wait=False)`",
    "D08": "Main thread blocked",
    "D09": "Watchdog during a long, healthy refresh",
    "D10": "`NOTIFY_SOCKET` missing, abstract, or gone",
    "D11": "Database down at start",
    "D12": "Restart storm",
    "D13": "Leader killed, two standbys",
    "D14": "Lock session lost, work session alive",
    "D15": "Lock key taken by a stranger",
    "D16": "Lock counted twice",
    "D17": "Log device full or stdout closed",
    "D18": "Rolling update with mixed versions",
    "D19": "Fork or exec after threads",
    "E01": "Missing or malformed value",
    "E02": "Contradictory times",
    "E03": "Malformed DSN",
    "E04": "Unknown key",
    "E05": "Configuration or password file unreadable, world-readable, empty",
    "E06": "Password rotated while running",
    "E07": "Hostile identifier in configuration",
    "E08": "Reload with a bad file",
    "E09": "View list differs from the database",
    "E10": "`connect_timeout=1`",
    "F01": "Receiver answers 500 / 503",
    "F02": "Receiver hangs or drips bytes",
    "F03": "429 with `Retry-After`",
    "F04": "400 / 401 / 404",
    "F05": "Redirect to another host",
    "F06": "Daemon restarts while an alert fires",
    "F07": "Leader changes while an alert fires",
    "F08": "Flapping view",
    "F09": "Database down: no data to judge",
    "F10": "No leader, or all replicas dead",
    "F11": "Direct Alertmanager push stops",
    "F12": "Message too long or with markup",
    "F13": "Two receivers, one broken",
    "G01": "Port in use at start",
    "G02": "Slow clients",
    "G03": "Restart of the HTTP server on one port",
    "G04": "A collector raises",
    "G05": "View removed from configuration",
    "G06": "Standby replicas",
    "G07": "Probe while the database is down",
    "G08": "Probe while the run hangs beyond its deadline",
    "G09": "Unknown paths and methods",
    "G10": "Restart of the daemon",
    "G11": "Histogram without data, NaN",
    "G12": "Fork-based multiprocess mode",
    "H01": "Secret in logs",
    "H02": "Secret in tracebacks",
    "H03": "Secret on the command line",
    "H04": "Personal data in error text",
    "H05": "Log forging",
    "H06": "Huge error text",
    "H07": "Label explosion",
    "H08": "TLS downgrade",
    "H09": "Wrong CA, wrong host name, expired certificate",
    "H10": "`verify-full` without a root file",
    "H11": "Authentication downgrade",
    "H12": "Over-privileged role",
    "H13": "`SECURITY DEFINER` without `search_path`",
    "H14": "Objects resolved by path",
    "H15": "HTTP exposure",
    "H16": "Host header, path traversal, large headers",
    "H17": "Webhook target chosen by data",
    "H18": "Poisoned context between runs",
    "H19": "Dependency with native code",
    "L01": "A refresh in incremental mode that folded nothing and says success",
    "L02": "A bare `REFRESH MATERIALIZED VIEW` in incremental mode",
    "L03": "A view, or the table under it, replaced by another definition",
    "L04": "What blocks or breaks capture, come after the installation",
    "L05": "A publication of all tables",
    "L06": "A figure that may no longer be read",
    "L07": "A p95 that is a mean of p95s; rows dated in the future",
    "L08": "A view's age in a long run",
    "L09": "A second application schema in one database; an older program beside this one",
    "L10": "Server settings that change what is read or how it is cut",
    "L11": "One failure within an evaluation, a recording or a telling",
    "L12": "A lock on the history",
    "L13": "A lock on a view, seen by the status function",
    "L14": "A server that turns read-only",
    "L15": "False pages: change of leader, end of an outage, success just now",
    "L16": "A server that hangs during an evaluation",
    "L17": "A cancel by a person; one cause that concerns all views",
    "L18": "A service file or `hostaddr` against our TLS default",
    "L19": "A password rotated under the shipped units",
    "L20": "Commands that alerts tell to type",
    "L21": "An unreadable configuration",
    "L22": "Logs as journald, container runtimes and log stores write them",
    "L23": "Upgrade and uninstall as written",
    "L24": "Manifests as rendered",
    "L25": "Input of unusual form: infinite dates, service links, BOMs, closed outputs",
    "L26": "Full disk or server down: what an operator still sees",
    "L27": "The demo beside a second terminal",
    "L28": "Queries over a time span; what page and dashboards show of it",
    "L29": "The terminal: 80 columns, completion, examples, the last blocker",
    "L30": "Other versions of PostgreSQL",
    "P01": "A parameter that is unknown, of a wrong type or out of bounds; an offset beyond 10,000",
    "P02": "An unknown organization; another tenant's trigger or rows",
    "P03": "A key that is malformed, unknown, expired or revoked",
    "P04": "A token: `none`, another audience, keys confused, clocks apart",
    "P05": "Headers and addresses of 100 kB; clients that are slow, silent or no HTTP clients",
    "P06": "A client that reads a CSV slowly",
    "P07": "A client that leaves in mid-stream",
    "P08": "All connections lent out",
    "P09": "`statement_timeout` of a query",
    "P10": "A view dropped",
    "P11": "A schema of an older or newer version, or without what the API needs",
    "P12": "A standby that is behind, or alone",
    "P13": "The database away",
    "P14": "A stop with requests under way",
    "P15": "Streams: who reads nothing, leaves, comes back, or loses the right",
    "P16": "Operators' requests: of tenants, of other sites, twice, or taken by nobody",
    "P17": "Answers that are kept: another tenant, a view that cannot be read",
    "P18": "The limits' storage away",
    "P19": "Kept questions: another tenant, another site, a foreign address or a key in it, one too many",
    "P20": "An API process replaced under load",
    "P21": "The API's warehouse away, silent, without its wall, or with a query that forgot its limit",
    "R01": "Killed at every step",
    "R02": "Two at once; a writer beside it",
    "R03": "A long reader that holds the month",
    "R04": "A row committed late into a month being dropped",
    "R05": "Times that are NULL, infinite or in the future",
    "R06": "Clock steps",
    "R07": "A standby ten minutes behind",
    "R08": "A full disk while freezing",
    "R09": "Erasure during a rebuild, or of a month being dropped",
    "R10": "A partition made, or removed, by hand",
    "R11": "A dump restored from before or after the freeze",
    "R12": "Incremental mode off and on",
    "R13": "Failover in the middle",
    "W01": "Killed between landing and acknowledging; two senders at once",
    "W02": "A batch that comes again, late, in part, or with the same rows as another",
    "W03": "A host that answers nothing",
    "W04": "Away for an hour",
    "W05": "A full disk there",
    "W06": "A table or a column missing there",
    "W07": "A wrong password",
    "W08": "Clocks forty days apart",
    "W09": "The daemon or the server killed, or the network between them cut, at every step",
    "W10": "A standby that lacks the last acknowledged batch is promoted",
    "W11": "More rows than the outbox may hold, also during an export",
    "W12": "A warehouse that was emptied or restored",
    "W13": "What answers is no ClickHouse: it lies, never ends, or leads elsewhere",
    "W14": "A database of another encoding, owner or schema",
}
"""Every row of the fault matrix, by its section and number; sections L, P, R and W go beyond it."""

NOT_COVERED = dict.fromkeys(("R07", "R13"), "test_R07_R13_… of tests/integration/test_retain.py runs at night") | {
    row: f"test_{row}_… of tests/acceptance/test_warehouse_trouble.py runs at night" for row in ("W04", "W05", "W08")
}
"""The rows that have no test, and why."""

_NAME = re.compile(r"test_((?:[A-HLPRW]\d\d_)+)")
_HEAD = """# Fault tests

Each test marked `fault` injects faults as the fault matrix says, and bears their rows in its name: `test_A08_…` is row
A8. It asserts what the daemon must do then, and what it must never do. They run against a PostgreSQL of their own:

    python -m pytest -m fault -n 2
    python -m pytest -m fault -k A08

What cannot be had on a machine (a mount without root, PgBouncer, a real Alertmanager) is skipped with its reason.
A plain run takes the tests marked `quick`; `-m fault` and `--full` take all of them.

The other tests in this folder drive the daemon, the demo and the page as a whole.

This file is written by the tests' own collection, and a test holds it to that; after a change of tests:

    python -m pytest tests --full --collect-only -q --fault-table tests/acceptance/README.md

"""


def rows_of(name: str) -> list[str]:
    """The rows that a test's name bears: `test_A18_A19_x` is of A18 and A19."""
    found = _NAME.match(name)
    return found[1].rstrip("_").split("_") if found else []


def tests_by_row(items: Iterable[pytest.Item], root: Path) -> dict[str, list[str]]:
    """For each row the tests that bear it, `file::name`, without parameters and each once."""
    found: dict[str, set[str]] = {}
    for item in items:
        name = getattr(item, "originalname", item.name)
        for row in rows_of(name):
            found.setdefault(row, set()).add(f"{item.path.relative_to(root).as_posix()}::{name}")
    return {row: sorted(tests) for row, tests in found.items()}


def table(by_row: dict[str, list[str]]) -> str:
    """The whole file."""
    lines = [_HEAD + f"{sum(row in by_row for row in ROWS)} of {len(ROWS)} rows are covered."]
    for section, title in SECTIONS.items():
        lines += ["", f"## {section}. {title}", "", "| Row | Fault | Tests |", "| --- | --- | --- |"]
        for row, fault in ROWS.items():
            if row.startswith(section):
                tests = "<br>".join(_linked(test) for test in by_row.get(row, ()))
                lines.append(f"| {row} | {fault} | {tests or 'none: ' + NOT_COVERED.get(row, 'no test')} |")
    return "\n".join(lines) + "\n"


def _linked(test: str) -> str:
    path, _, name = test.partition("::")
    from_here = path.removeprefix("tests/acceptance/")
    target = from_here if from_here != path else "../" + path.removeprefix("tests/")
    return f"[`{name}`]({target})"
