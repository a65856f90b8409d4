"""Where an alert's runbook is."""


def runbook(base: str, alert: str) -> str:
    """Return the address of an alert's runbook.

    It is below `base`, a URL or a folder; "" without one. A query string stays at the end. Below a fragment, as in
    `https://wiki.example.com/#/runbooks`, the name follows that.
    """
    if not base:
        return ""
    path, mark, query = (base, "", "") if "#" in base else base.partition("?")
    return f"{path.rstrip('/')}/{alert}.md{mark}{query}"


def web_link(address: str) -> str | None:
    """Return an address that a browser can open, else None. The runbooks' default is a path in the repository."""
    return address if address.startswith(("http://", "https://")) else None
