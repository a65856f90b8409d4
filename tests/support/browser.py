"""A headless Chromium, driven through chromedriver's HTTP interface: no library is needed for a dozen commands."""

import base64
import http.client
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.postgres import free_port
from tests.support.waiting import eventually


def missing() -> str | None:
    """Why no browser can be driven here, or None."""
    for command, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(command) is None:
            return f"{command} is not installed (Debian: {package})"
    return None


class Browser:
    """One browser window. Colours, width and scripts are set before `open`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._session = ""
        try:
            eventually(lambda: self._call("GET", "/status")["ready"], within=20)
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        arguments.append(f"--user-data-dir={self.folder / 'profile'}")
        options = {"binary": shutil.which("chromium"), "args": arguments}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{value['error']}: {value['message']}")
        return value

    def _command(self, path: str, body: object) -> Any:
        return self._call("POST", f"/session/{self._session}{path}", body)

    def devtools(self, command: str, **parameters: object) -> Any:
        """One command of the DevTools protocol."""
        return self._command("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def shape(self, *, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True) -> None:
        """Set the window's size, the preferred colours, and whether scripts run."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.devtools("Emulation.setEmulatedMedia", features=scheme)
        self.devtools("Emulation.setScriptExecutionDisabled", value=not script)

    def open(self, url: str) -> None:
        """Load a page and wait for it."""
        self._command("/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Run a function body in the page; `return` hands a value back."""
        return self._command("/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str) -> Any:
        """Run a function body whose last argument is the callback for its value."""
        return self._command("/execute/async", {"script": script, "args": []})

    def press(self, key: str) -> None:
        """Press one key; names as in KeyboardEvent.key."""
        codes = {"Tab": "\ue004", "ArrowLeft": "\ue012", "Home": "\ue011", "End": "\ue010", "Enter": "\ue007"}
        code = {**codes, "Escape": "\ue00c"}[key]
        keys = [{"type": "keyDown", "value": code}, {"type": "keyUp", "value": code}]
        self._command("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def hover(self, x: int, y: int) -> None:
        """Move the pointer to a place in the window."""
        move = [{"type": "pointerMove", "duration": 0, "x": x, "y": y}]
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": move}
        self._command("/actions", {"actions": [pointer]})

    def complaints(self) -> list[str]:
        """What the browser's console has said since the last look."""
        return [str(entry["message"]) for entry in self._command("/se/log", {"type": "browser"})]

    def screenshot(self, path: Path, *, whole: bool = True) -> Path:
        """A PNG of the whole page, or of the window."""
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def close(self) -> None:
        """End the browser and its driver."""
        if self._session:
            self._call("DELETE", f"/session/{self._session}")
        self._driver.terminate()
        self._driver.wait(20)


def violations(browser: Browser, axe: str) -> list[str]:
    """What axe finds against WCAG 2.2 AA and its best practices."""
    browser.run(axe + "; return true")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = browser.run_async(
        "const done = arguments[arguments.length - 1];"
        f"axe.run(document, {{runOnly: {json.dumps(tags)}}}).then(result => done(result.violations.map("
        "each => each.id + ': ' + each.nodes.slice(0, 3).map(node => node.html + ' ' + node.failureSummary).join(' | ')"
        ")), error => done(['axe failed: ' + error]))"
    )
    return list(found)


def plain_name(text: str) -> str:
    """A file name made of a test's name."""
    return re.sub(r"[^\w-]+", "-", text).strip("-")
