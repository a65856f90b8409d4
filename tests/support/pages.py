"""The API's pages in a browser, and a database that shows them at their worst."""

from typing import Any
from urllib.parse import urlencode

import psycopg

from tests.support.browser import Browser
from tests.support.tenants import fill
from tests.support.waiting import eventually

PAGES = (
    "overview",
    "types",
    "triggers",
    "failures",
    "growth",
    "patterns",
    "organizations",
    "costs",
    "freshness",
    "questions",
)
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> {b|c} =1+1 &lt;"
LONG = "a-name-without-any-place-to-break-" * 6
_MANY = """
insert into triggers (id, organization_id, name, enabled, created_at)
    select 'many-' || n, 'acme', 'Trigger number ' || n, true, now() - interval '60 days'
    from generate_series(1, %(count)s) n;
insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms,
    retry_count)
    select 'many-' || n, 'job', 'many-' || n, 'event', 'rest', 'success', now() - interval '3 hours', n %% 5000, 0
    from generate_series(1, %(count)s) n;
"""


def fill_pages(connection: psycopg.Connection[Any], *, many: int = 0) -> None:
    """Insert two tenants' actions; some names and errors are full of markup, and one is long."""
    fill(connection)
    connection.execute("update organizations set name = %s where id = 'bolt'", (HOSTILE,))
    connection.execute("update triggers set name = %s where id = 'acme-trigger-2'", (HOSTILE,))
    connection.execute("update triggers set name = %s where id = 'bolt-trigger-2'", (LONG,))
    connection.execute(
        "update action_results set error_message = %s where error_message is not null and retry_count = 2", (HOSTILE,)
    )
    connection.execute(
        "update action_results set action_type = %s where action_type = 'mcp' and id like 'bolt%%'", (HOSTILE,)
    )
    for statement in filter(str.strip, _MANY.split(";") if many else ()):
        connection.execute(statement, {"count": many})
    connection.execute("select * from refresh_action_analytics()")


class PagesInBrowser:
    """The pages of an API in a browser window."""

    def __init__(self, browser: Browser, port: int) -> None:
        self.browser = browser
        self.url = f"http://127.0.0.1:{port}/"

    def sign_in(self, key: str) -> None:
        """Forget what the tab knows, open the pages and give a key as a person does."""
        self.browser.open(f"{self.url}api/v1/docs")
        self.browser.run("sessionStorage.clear()")
        self.browser.open(self.url)
        self.sees("Sign in")
        # a proxy's key was asked for first, and the browser notes the 401
        self.browser.complaints()
        self.enter(key)
        self.loaded("overview")

    def enter(self, key: str) -> None:
        """Type a key into the form, and press Enter."""
        self.browser.run("document.querySelector('.signin input').focus()")
        self.browser.devtools("Input.insertText", text=key)
        self.browser.press("Enter")

    def show(self, page: str, **state: str) -> None:
        """Open an address, and wait until all its figures are there."""
        self.browser.open(f"{self.url}?{urlencode({'page': page, 'zone': 'UTC', **state})}")
        self.loaded(page)

    def loaded(self, page: str) -> None:
        """Wait until nothing is being read any more."""
        script = "return document.querySelector('main')?.dataset.loaded ?? ''"
        eventually(lambda: self.browser.run(script) == page, within=60)

    def sees(self, words: str) -> None:
        """Wait for words on the page."""
        eventually(lambda: words in self.text, within=60)

    @property
    def text(self) -> str:
        """What a reader sees."""
        return " ".join(str(self.browser.run("return document.body.innerText")).split())

    @property
    def fits(self) -> bool:
        """Whether there is no sideways scrolling."""
        return bool(self.browser.run("return document.documentElement.scrollWidth <= innerWidth"))

    def fact(self, name: str) -> str:
        """A large figure, by its name."""
        script = (
            "const found = [...document.querySelectorAll('dt')].find(each => each.textContent === arguments[0]);"
            "return found?.nextElementSibling.textContent ?? ''"
        )
        return str(self.browser.run(script, name))

    def press(self, name: str) -> None:
        """Press the button of that name."""
        script = "[...document.querySelectorAll('button')].find(each => each.textContent === arguments[0]).click();"
        self.browser.run(script, name)

    def focus(self, name: str) -> None:
        """Put the focus on the button of that name, as the tab key would."""
        script = "[...document.querySelectorAll('button')].find(each => each.textContent === arguments[0]).focus();"
        self.browser.run(script, name)

    def cells(self, title: str) -> list[list[str]]:
        """The table of a panel, by its heading."""
        script = (
            "const found = [...document.querySelectorAll('section.panel')].find("
            "each => each.querySelector('h2').textContent === arguments[0]);"
            "return [...found.querySelectorAll('tbody tr')].map(row => [...row.children].map(cell => cell.textContent))"
        )
        return [[str(cell) for cell in row] for row in self.browser.run(script, title)]
