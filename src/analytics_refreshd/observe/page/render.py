"""The page at `/`: one HTML document with its style and script inside, allowed by their hashes and nothing else."""

import base64
import hashlib
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analytics_refreshd.core.picture import ServiceState
from analytics_refreshd.observe.page.status_json import picture
from analytics_refreshd.observe.page.words import words


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_CSS = _resource("page.css")
_JS = _resource("page.js")
_ICON_COLOUR = {"info": "1a7037", "warn": "c47f00", "bad": "b3202a"}

PAGE_POLICY = (
    f"default-src 'none'; style-src {_hash(_CSS)}; script-src {_hash(_JS)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_environment = Environment(
    loader=PackageLoader("analytics_refreshd.observe", "page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_template = _environment.get_template("page.html.j2")


def render_page(state: ServiceState, monotonic: float) -> bytes:
    """The whole document, from memory: under 100 kB with fifty views."""
    data = picture(state, monotonic)
    colour = _ICON_COLOUR[data["headline"]["level"]]
    icon = f"%3Csvg xmlns='http://www.w3.org/2000/svg'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23{colour}'/%3E%3C/svg%3E"
    # Our own files and this constant are the only text that is not escaped.
    own = {"css": Markup(_CSS), "js": Markup(_JS), "icon": Markup(icon)}  # noqa: S704
    return _template.render(words(data), **own).encode("utf-8", "replace")
