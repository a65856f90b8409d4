"""Finds variables with our prefix that set nothing."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping

from pydantic_settings import SettingsError

from analytics_refreshd.config.sections import PREFIX, Config

_SECTIONS = {name.upper(): f"{name.upper()}__…" for name in Config.model_fields}
_FILE = "CONFIG"
"""The variable that names the configuration file; no key."""
_SERVICE_LINK = re.compile(
    r"(.+?)_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR)?)?)"
)
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")
"""The value of NAME_PORT, which tells it from a key that somebody meant to set."""


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield variables with our prefix that set nothing; pydantic-settings ignores them."""
    for variable in environment:
        name = variable.upper().removeprefix(PREFIX)
        if name == variable.upper() or name == _FILE or name.split("__")[0] in _SECTIONS:
            continue
        if _is_service_link(variable.upper(), environment):
            continue
        known = _SECTIONS | {_FILE: _FILE}
        nearest = difflib.get_close_matches(name.split("__")[0], known, 1)
        hint = f"; did you mean {PREFIX}{known[nearest[0]]}?" if nearest else ""
        yield f"the environment variable {variable} sets nothing that exists{hint}"


def _is_service_link(variable: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes or Docker sets it, in every container beside a Service whose name begins with ours."""
    service = _SERVICE_LINK.fullmatch(variable)
    if service is None:
        return False
    told = environment.get(f"{service[1]}_PORT", environment.get(variable, ""))
    return _SERVICE_ADDRESS.match(told) is not None


def not_json(error: SettingsError, environment: Mapping[str, str]) -> str:
    """Return the variable that is not JSON. The library names its section only, but its cause holds the text."""
    cause = error.__cause__
    text = cause.doc if isinstance(cause, json.JSONDecodeError) else None
    found = [name for name, value in environment.items() if name.upper().startswith(PREFIX) and value == text]
    return " or ".join(found) or "an environment variable"
