"""Reads the parameters of a query from the command line."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from analytics_refreshd.cli.common import span_or_moment
from analytics_refreshd.core.errors import UsageError

if TYPE_CHECKING:
    from analytics_refreshd.app.commands.query import Query


def parse_parameters(chosen: "Query", words: Sequence[str]) -> dict[str, object]:
    """Return the parameters as typed, by name.

    They are given as `--name value`, `--name=value` or `--flag`. `--since` and `--until` become times or durations.
    Raises ParameterError for anything else.
    """
    from analytics_refreshd.app.commands.query import ParameterError

    kinds = {parameter.name: parameter.type for parameter in chosen.parameters}
    kinds |= dict.fromkeys(("since", "until"), "span") | {"timezone": "text"}
    kinds |= {"month": "text"} if "month" in chosen.span_names else {}
    given: dict[str, object] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ParameterError(f"{word[:40]!r} is not expected; a parameter is given as --name value")
        name, equals, value = word[2:].partition("=")
        if name in given:
            raise ParameterError(f"--{name} is given twice")
        if not equals and kinds.get(name) == "boolean" and (not rest or rest[0].startswith("--")):
            value = "true"
        elif not equals:
            if not rest and name in kinds:
                raise ParameterError(f"--{name} needs a value")
            value = rest.pop(0) if rest else ""
        given[name] = _span(name, str(value)) if kinds.get(name) == "span" else value
    return given


def _span(name: str, text: str) -> timedelta | datetime:
    from analytics_refreshd.app.commands.query import ParameterError

    try:
        # a time without an offset is one of --timezone
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        return span_or_moment(text)
    except UsageError as error:
        raise ParameterError(f"--{name}: {error}") from None
