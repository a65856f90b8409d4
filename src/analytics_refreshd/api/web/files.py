"""The pages' files, and what a browser may do on them."""

from dataclasses import dataclass
from importlib.resources import files

PAGES_PATH = "/"
PAGES_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types default",
    )
)
"""Scripts, styles and figures from this server alone; no text becomes a script or markup."""
_NO_CACHE = "no-cache"
# the page names them with the hash of what they hold
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file that everybody may read: it holds no data."""

    path: str
    content: bytes
    content_type: str
    cache_control: str


def web_files() -> tuple[WebFile, ...]:
    """Return the page with its script, style and licences."""
    built = files(__package__).joinpath("built")
    named = (
        (PAGES_PATH, "index.html", "text/html; charset=utf-8", _NO_CACHE),
        ("/pages/pages.js", "pages.js", "text/javascript; charset=utf-8", _FOR_EVER),
        ("/pages/pages.css", "pages.css", "text/css; charset=utf-8", _FOR_EVER),
        ("/pages/licences.txt", "licences.txt", "text/plain; charset=utf-8", _NO_CACHE),
    )
    return tuple(WebFile(path, built.joinpath(name).read_bytes(), kind, cache) for path, name, kind, cache in named)
