"""The manual page: what `--help` prints, in man's form."""

from typer.testing import CliRunner

from analytics_refreshd.cli.main import app

_EXIT_CODES = (
    (0, "done, or healthy"),
    (1, "failed, stale, or a finding of check"),
    (2, "only a part could be done, or a parameter of a query is wrong"),
    (64, "the command line is wrong"),
    (70, "a defect of the program"),
    (74, "the answer could not be written"),
    (75, "the database cannot be reached"),
    (78, "the configuration cannot be used"),
    (130, "interrupted"),
)
_HEAD = r""".TH ANALYTICS-REFRESHD 1 "" "" "analytics-refreshd"
.SH NAME
analytics\-refreshd \- keep the analytics views of an action log in PostgreSQL fresh
.SH SYNOPSIS
\fBanalytics\-refreshd\fR [\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGS\fR]...
.SH DESCRIPTION
"""


def man_page() -> str:
    """Return the page in troff, section 1."""
    root = app.registered_commands
    names = [str(command.name or command.callback.__name__) for command in root if command.callback]
    lines = [_HEAD + _as_it_stands(_help()), ".SH COMMANDS"]
    for name in names:
        lines += [f".SS {_text(name)}", _as_it_stands(_help(name))]
    lines.append(".SH EXIT STATUS")
    for code, meaning in _EXIT_CODES:
        lines += [".TP", rf"\fB{code}\fR", _text(meaning)]
    return "\n".join(lines) + "\n"


def _help(*command: str) -> str:
    shown = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(
        app, [*command, "--help"], prog_name="analytics-refreshd", terminal_width=76
    )
    return shown.stdout.strip("\n")


def _as_it_stands(text: str) -> str:
    return "\n".join([".nf", *map(_text, text.splitlines()), ".fi"])


def _text(line: str) -> str:
    """Escape what troff would read as a command or set as another sign."""
    escaped = line.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return rf"\&{escaped}" if escaped.startswith((".", r"\(aq")) else escaped
