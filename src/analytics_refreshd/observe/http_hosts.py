"""Decides which names a request may use for this daemon.

Otherwise a web page could read it through a browser. A page can point a name of its own at this address (DNS
rebinding). The browser then sends that name, which is none of ours. It cannot do so with an address, nor with a name
that others control.
"""

import ipaddress
import re
from collections.abc import Collection

_HOST = re.compile(r"(?:\[([0-9a-f:.]+(?:%[\w.~-]+)?)\]|([^\[\]:]+))(?::[0-9]{0,5})?")


def host_allowed(field: str | None, names: Collection[str]) -> bool:
    """Return whether the Host field may be used.

    It may be an address, a loopback name or one of `names`. A name that begins with a dot stands for every name that
    ends with it. Without the field, as in HTTP/1.0, no browser asks.
    """
    if field is None:
        return True
    given = _HOST.fullmatch(field.lower())
    if given is None:
        return False
    if given[1] is not None:
        return _is_address(given[1], 6)
    name = given[2].removesuffix(".")
    return (
        name == "localhost"
        or name.endswith(".localhost")
        or _is_address(name, 4)
        or any(name == each or (each.startswith(".") and name.endswith(each)) for each in map(str.lower, names))
    )


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
