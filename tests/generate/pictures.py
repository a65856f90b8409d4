"""Takes the pictures of the API's pages that README and guides show, of the demo's data.

`python -m tests.generate.pictures` needs what the demo and the browser tests need, and pngquant. No gate runs it: run
it when the pages look otherwise.
"""

import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.generate.files import ROOT
from tests.support.browser import Browser, missing
from tests.support.demo import RunningDemo
from tests.support.pages import PagesInBrowser
from tests.support.waiting import eventually

DEPLOY = ROOT / "deploy"
PICTURES: dict[str, tuple[str, dict[str, str], bool]] = {
    "pages.png": ("overview", {"range": "24h"}, False),
    "pages-dark.png": ("failures", {"range": "24h"}, True),
}
"""By file name: the page, what its address says, and whether it is dark."""
MOST_BYTES = 100_000
_WIDTH, _HEIGHT = 1280, 900


def main() -> int:
    """Take every picture. Raises RuntimeError where something is missing here."""
    lacking = missing() or (None if shutil.which("pngquant") else "pngquant is not installed (Debian: pngquant)")
    if lacking:
        raise RuntimeError(lacking)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo = RunningDemo(folder, "--port", "0", "--api-port", "0", "--interval", "5m")
        try:
            port = int(demo.shown("api").rstrip("/").rpartition(":")[2])
            eventually(lambda: _answers(port), within=120)
            browser = Browser(folder)
            try:
                _take(PagesInBrowser(browser, port), demo.shown("key"), folder)
            finally:
                browser.close()
        finally:
            demo.stop()
    return 0


def _answers(port: int) -> bool:
    """Whether the API is there: the demo names it before it listens."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _take(pages: PagesInBrowser, key: str, folder: Path) -> None:
    pages.browser.shape(width=_WIDTH, height=_HEIGHT)
    pages.sign_in(key)
    for name, (page, state, dark) in PICTURES.items():
        pages.browser.shape(width=_WIDTH, height=_HEIGHT, dark=dark)
        pages.show(page, **state)
        taken = pages.browser.screenshot(folder / name, whole=False)
        reduced = ["pngquant", "--force", "--strip", "--output", str(DEPLOY / name), "64", str(taken)]
        subprocess.run(reduced, check=True)
        print(f"deploy/{name}: {(DEPLOY / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    raise SystemExit(main())
