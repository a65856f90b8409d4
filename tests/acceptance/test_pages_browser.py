"""The API's pages in a real browser: figures, trouble, three widths, light and dark, axe.

Screenshots go to the folder that REFRESHD_TEST_SCREENSHOTS names, else to `screenshots` in pytest's own.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import psycopg
import pytest

from tests.support.api import Api, api_role, install_api, make_key
from tests.support.browser import Browser, missing, violations
from tests.support.costs import COSTS
from tests.support.daemon import Daemon
from tests.support.faults import Connection, FaultServer
from tests.support.pages import HOSTILE, PAGES, PagesInBrowser, fill_pages
from tests.support.tenants import add_organizations
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

WIDTHS = (360, 768, 1920)
MANY = 10_000
HOURLY: dict[str, str] = {"schedule__interval": "1h", "staleness__max_age": "3h"}
EXPECTED_ACTIONS = """
insert into action_results (id, job_id, action_type, status, executed_at, duration_ms, retry_count)
select gen_random_uuid(), 'j', kind, case when kind = 'rest' and h between 1 and 3 and i % 2 = 0 then 'failed' else
    'success' end, date_trunc('hour', now()) - h * interval '1 hour' + i * interval '1 minute', 50 + i, 0
from generate_series(0, 29 * 24) h, generate_series(1, 30) i, (values ('rest'), ('mcp')) as k (kind)
where kind = 'rest' or i <= 25
"""
"""Four weeks of two types. Of one a half fails in the last three whole hours: one hour alone is no hint."""
RUNS = """
insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome,
    duration_seconds)
select gen_random_uuid(), 'd', 'r', 'schedule', date_trunc('day', now()) - i * interval '12 hours', now(), 'ok',
    3000 - 20 * (i / 2) from generate_series(0, 41) i
"""
SPOKEN = """
const found = [...document.querySelectorAll('section.panel')].find(
    each => each.querySelector('h2').textContent === arguments[0]);
return found.querySelector('[role=img]').getAttribute('aria-label')
"""


@dataclass(frozen=True)
class World:
    """An API over two tenants, and keys for all of it, for one tenant, and for one that has nothing."""

    api: Api
    everything: str
    tenant: str
    nothing: str
    dsn: str
    own: str
    secret: Path


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One API for all tests of this file."""
    dsn, folder = templates(migrated_template), tmp_path_factory.mktemp("pages")
    with psycopg.connect(dsn, autocommit=True) as owner:
        fill_pages(owner)
        add_organizations(owner, {"void": "v"}, plan="pro")
        with api_role(dsn, owner, folder) as (own, secret):
            everything = make_key(dsn, "--all-organizations", "--role", "admin")
            tenant = make_key(dsn, "--organization", "acme")
            nothing = make_key(dsn, "--organization", "void")
            with Api(own, secret, schedule__interval="1h", staleness__max_age="3h", **COSTS) as api:
                yield World(api, everything, tenant, nothing, dsn, own, secret)


@pytest.fixture
def pages(browser: Browser, world: World) -> PagesInBrowser:
    """The pages, in a window of a usual size."""
    browser.shape()
    return PagesInBrowser(browser, world.api.port)


def test_a_key_opens_the_pages(pages: PagesInBrowser, world: World) -> None:
    """Figures are the API's; the key is in no address; names full of markup stay text; nothing is complained of."""
    pages.sign_in(world.everything)
    answer = world.api.ask("health/summary", world.everything).json["data"]
    (row,) = pages.cells("Last 24 hours")
    assert row[1:4] == [f"{answer[name]:,}" for name in ("total_executions", "total_successes", "total_failures")]
    assert pages.browser.run("return sessionStorage.length") == 1
    assert pages.browser.run("return localStorage.length + document.cookie.length") == 0
    for page in PAGES:
        pages.show(page, range="7d")
        shown = str(pages.browser.run("return document.documentElement.outerHTML + location.href"))
        assert world.everything not in shown, page
        assert "owned" not in pages.browser.run("return document.title")
        assert pages.browser.run("return document.querySelectorAll('main script, main img').length") == 0
        assert pages.fits, page
        assert pages.browser.complaints() == [], page
    # a day is one of UTC, and just after midnight there is nothing in it
    pages.show("organizations", range="7d")
    names = {row[0] for row in pages.cells("Usage")}
    assert names == {"acme name", HOSTILE, "Without an organization"}


def test_costs_are_those_of_the_api(pages: PagesInBrowser, world: World) -> None:
    """A month alone; what has no price is unknown, with what is known of it; said to be no bill."""
    month = f"{datetime.now(UTC):%Y-%m}"
    pages.sign_in(world.everything)
    pages.show("costs", month=month)
    answer = world.api.ask(f"organizations/costs?month={month}&by=action_type", world.everything).json["data"]
    shown = pages.cells("Costs by action type")
    assert [(row[0], row[2].startswith("unknown")) for row in shown] == [
        (row["action_type"], row["cost"] is None) for row in answer
    ]
    costs = {row[2] for row in shown}
    assert "unknown" in costs
    assert any(cost.startswith("€") for cost in costs)
    assert any(row[1].startswith("unknown, at least €") for row in pages.cells("Costs by organization"))
    assert "never a bill" in pages.text
    assert pages.browser.complaints() == []


def test_what_was_expected_is_drawn_and_listed(
    templates: Callable[..., str], migrated_template: str, browser: Browser, axe: str, tmp_path: Path
) -> None:
    """A band beside what was seen, a mark and a word for what is unusual; the next hours; when limits are reached."""
    dsn = templates(migrated_template)
    browser.shape()
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(EXPECTED_ACTIONS)
        owner.execute(RUNS)
        owner.execute("select * from refresh_action_analytics()")
        with api_role(dsn, owner, tmp_path) as (own, secret):
            key = make_key(dsn, "--all-organizations")
            with Api(own, secret, api__concurrent_queries=2, api__statement_timeout="30s", **HOURLY) as api:
                pages = PagesInBrowser(browser, api.port)
                pages.sign_in(key)
                asked = "anomalies?hours=24&every=true&action_type=rest&limit=1000"
                answer = [row for row in api.ask(asked, key).json["data"] if row["measure"] == "volume"]
                shown = pages.cells("rest: executions by hour")
                assert [row[1] for row in shown] == [f"{row['value']:,.0f}" for row in reversed(answer)]
                assert len(shown) >= 22
                rate = pages.cells("rest: success rate by hour")
                assert [row[6] for row in rate[-2:]] == ["yes", "yes"]
                assert all(row[1] < row[3] for row in rate[-2:])
                said = str(browser.run(SPOKEN, "rest: success rate by hour"))
                assert "Unusual: from" in said
                assert "Band, " in said
                assert {row[1] for row in pages.cells("Unusual hours of the last 24")} == {"rest"}
                assert len(pages.cells("Executions: the last and the next 24 hours")) == 24
                assert pages.browser.complaints() == []
                pages.show("overview", type="mcp")
                assert len(pages.cells("mcp: executions by hour")) == len(shown)
                pages.show("freshness")
                assert "Limits ahead" in pages.text
                assert re.search(r"19 of 20 runs end within [^:]*: the interval of 1 h is reached", pages.text)
                assert violations(browser, axe) == []
                assert pages.browser.complaints() == []


def test_trouble_is_said_in_words(pages: PagesInBrowser, world: World) -> None:
    """A key that is none, one that may not see something, and a tenant in whose organization nothing ever ran."""
    pages.sign_in(world.nothing)
    assert "Nothing ran in this time." in pages.text
    pages.show("overview", organization="acme")
    assert "not for the organization" in pages.text
    pages.browser.run("sessionStorage.clear()")
    pages.browser.open(pages.url)
    pages.sees("Sign in")
    pages.enter("rfd_" + "x" * 43)
    pages.sees("This API key is not known")
    assert pages.browser.run("return sessionStorage.length") == 0
    assert pages.browser.run("return document.activeElement.type") == "password"
    pages.enter(world.tenant)
    pages.loaded("overview")
    assert "Success rate over time" in pages.text


def test_figures_are_live_until_they_are_paused(pages: PagesInBrowser, world: World) -> None:
    """What a refresh brings is shown without a press; a pause keeps what is read; going on catches up."""
    pages.sign_in(world.everything)
    pages.sees("Live: ")
    before = int(pages.fact("Executions").replace(",", ""))
    act_and_refresh(world.dsn)
    eventually(lambda: pages.fact("Executions") == f"{before + 1:,}")
    pages.press("Pause")
    pages.sees("Paused")
    act_and_refresh(world.dsn)
    eventually(lambda: world.api.ask("health/summary", world.everything).json["data"]["total_executions"] == before + 2)
    assert pages.fact("Executions") == f"{before + 1:,}"
    pages.press("Go on")
    eventually(lambda: pages.fact("Executions") == f"{before + 2:,}")
    # the charts follow at a press, though the browser may keep their figures for an hour
    assert charted(pages) < before + 2
    pages.press("Refresh")
    eventually(lambda: charted(pages) == before + 2)
    assert pages.browser.complaints() == []


def charted(pages: PagesInBrowser) -> int:
    """All executions of the table under a chart."""
    return sum(int(row[1].replace(",", "")) for row in pages.cells("Executions over time"))


def act_and_refresh(dsn: str) -> None:
    """Let an action succeed, and refresh the views."""
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(
            "insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at,"
            " duration_ms, retry_count) values (gen_random_uuid()::text, 'job', 'acme-trigger-1', 'event', 'rest',"
            " 'success', now() - interval '1 second', 5, 0)"
        )
        assert all(row[3] for row in owner.execute("select * from refresh_action_analytics()"))


def test_a_question_is_kept_and_found_by_the_keyboard(
    pages: PagesInBrowser, world: World, axe: str, screenshots: Path
) -> None:
    """It opens what was shown, for who may see it; a name that is taken is said; who only reads is told so."""
    browser = pages.browser
    pages.sign_in(world.everything)
    pages.show("failures", range="7d", type="rest", organization="acme")
    pages.focus("Keep this question")
    browser.press("Enter")
    pages.sees("Others of the organization find it")
    browser.devtools("Input.insertText", text=HOSTILE[:100])
    assert violations(browser, axe) == []
    browser.screenshot(screenshots / "pages-keep.png")
    browser.press("Enter")
    pages.sees("Kept as “")
    browser.press("Escape")
    eventually(lambda: browser.run("return document.querySelector('dialog') === null"))
    assert browser.run("return document.activeElement.textContent") == "Keep this question"
    pages.press("Keep this question")
    browser.devtools("Input.insertText", text=HOSTILE[:100])
    browser.press("Enter")
    pages.sees("This name is taken")
    # the browser notes the 409
    assert len(browser.complaints()) == 1
    browser.press("Escape")
    pages.show("questions")
    assert [row[:2] for row in pages.cells("By name")] == [[HOSTILE[:100], "acme"]]
    assert violations(browser, axe) == []
    assert pages.fits
    browser.screenshot(screenshots / "pages-questions.png")
    # on a telephone the buttons leave the fields their line
    browser.shape(width=360)
    pages.show("failures")
    assert pages.fits
    assert browser.run("return document.querySelector('header select').clientWidth") > 140
    browser.screenshot(screenshots / "pages-narrow.png")
    browser.shape()
    pages.show("questions")
    pages.focus("Rename")
    browser.press("Enter")
    eventually(lambda: browser.run("return document.activeElement.value") == HOSTILE[:100])
    browser.devtools("Input.insertText", text="Failures of REST")
    browser.press("Enter")
    eventually(lambda: pages.cells("By name")[0][0] == "Failures of REST")
    eventually(lambda: browser.run("return document.activeElement.textContent") == "Failures of REST")
    browser.press("Enter")
    pages.loaded("failures")
    shown = parse_qs(str(browser.run("return location.search.slice(1)")))
    given = {"page": "failures", "range": "7d", "zone": "UTC", "type": "rest", "organization": "acme"}
    assert shown == {name: [value] for name, value in given.items()}
    assert browser.complaints() == []
    # a key of that organization for reading alone
    pages.sign_in(world.tenant)
    pages.show("questions")
    pages.press("Remove")
    pages.sees("It goes for everybody")
    browser.run("document.querySelector('dialog button').focus()")
    browser.press("Enter")
    pages.sees("A viewer may open questions")
    pages.sign_in(world.everything)
    pages.show("questions")
    pages.press("Remove")
    browser.run("document.querySelector('dialog button').focus()")
    browser.press("Enter")
    pages.sees("No question is kept yet.")
    assert browser.run("return document.activeElement.tagName") == "H2"


@pytest.mark.nightly
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_and_is_accessible(
    pages: PagesInBrowser, world: World, axe: str, screenshots: Path, width: int, scheme: str
) -> None:
    """No sideways scrolling from a telephone to a wall; axe finds nothing, with every table open, too."""
    pages.browser.shape(width=width, dark=scheme == "dark")
    pages.sign_in(world.everything)
    views: list[tuple[str, dict[str, str]]] = [(page, {}) for page in PAGES]
    views += [("triggers", {"trigger": "acme-trigger-2"}), ("types", {"type": HOSTILE})]
    for page, state in views:
        pages.show(page, range="7d", **state)
        pages.browser.screenshot(screenshots / f"pages-{page}{'-one' if state else ''}-{scheme}-{width}.png")
        pages.browser.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert pages.fits, (page, state)
        assert violations(pages.browser, axe) == [], (page, state)
        assert pages.browser.complaints() == [], (page, state)
    pages.sign_in(world.nothing)
    for page, state in [
        *((page, {}) for page in PAGES),
        ("triggers", {"trigger": "none"}),
        ("growth", {"organization": "acme"}),
    ]:
        pages.show(page, **state)
        pages.browser.screenshot(screenshots / f"pages-empty-{page}{'-one' if state else ''}-{scheme}-{width}.png")
        assert pages.fits, (page, state)
        assert violations(pages.browser, axe) == [], (page, state)
    pages.browser.run("sessionStorage.clear()")
    pages.browser.open(pages.url)
    pages.sees("Sign in")
    assert violations(pages.browser, axe) == []


@pytest.mark.nightly
def test_a_link_is_a_saved_question(pages: PagesInBrowser, world: World) -> None:
    """Range, zone and filters are in the address: who opens it sees the same, and back leads back."""
    pages.sign_in(world.everything)
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    since = until - timedelta(hours=5)
    given = {"range": "custom", "since": f"{since:%Y-%m-%dT%H:%M}", "until": f"{until:%Y-%m-%dT%H:%M}"}
    pages.show("failures", **given, type="rest")
    answer = world.api.ask(
        f"failures/by-action-type?since={since:%Y-%m-%dT%H:%M:%SZ}&until={until:%Y-%m-%dT%H:%M:%SZ}&action_type=rest",
        world.everything,
    ).json["data"]
    assert [row[:2] for row in pages.cells("By action type")] == [
        [row["action_type"], str(row["failure_count"])] for row in answer
    ]
    address = pages.browser.run("return location.search")
    pages.browser.run("[...document.querySelectorAll('nav a')].find(each => each.textContent === 'Growth').click()")
    pages.loaded("growth")
    assert pages.browser.run("return document.activeElement.tagName") == "H1"
    pages.browser.run("history.back()")
    pages.loaded("failures")
    assert pages.browser.run("return location.search") == address
    assert pages.browser.run("return document.querySelector('fieldset input').value") == "rest"


@pytest.mark.nightly
def test_ten_thousand_triggers_are_searched(
    templates: Callable[..., str], migrated_template: str, browser: Browser, tmp_path: Path
) -> None:
    """Page by page in any order, and by any part of a name."""
    dsn = templates(migrated_template)
    browser.shape()
    with psycopg.connect(dsn, autocommit=True) as owner:
        fill_pages(owner, many=MANY)
        with api_role(dsn, owner, tmp_path) as (own, secret):
            key = make_key(dsn, "--all-organizations")
            with Api(own, secret) as api:
                pages = PagesInBrowser(browser, api.port)
                pages.sign_in(key)
                pages.show("triggers", sort="trigger_name", offset="25")
                assert len(pages.cells("Every trigger")) == 25
                assert f"26 to 50 of {MANY + 12:,}" in pages.text or "26 to 50 of 10,0" in pages.text
                pages.show("triggers", search="number 777")
                assert "11 of 10,0" in pages.text
                assert {row[0] for row in pages.cells("Every trigger")} >= {
                    "Trigger number 777",
                    "Trigger number 7770",
                }
                assert browser.complaints() == []


@pytest.mark.nightly
def test_an_operator_asks_for_a_refresh_and_a_pause(
    browser: Browser, dsn: str, connection: Connection, axe: str, tmp_path: Path
) -> None:
    """What became of it is said; a pause needs a reason; who is no operator reads so."""
    browser.shape()
    with api_role(dsn, connection, tmp_path) as (own, secret):
        operator, other = make_key(dsn, "--all-organizations", "--operator"), make_key(dsn, "--all-organizations")
        with Daemon(dsn, schedule__interval="6h", alerts__evaluate_every="1h") as daemon, Api(own, secret) as api:
            daemon.wait_for("leader.acquired")
            pages = PagesInBrowser(browser, api.port)
            pages.sign_in(operator)
            pages.show("freshness")
            browser.run("document.querySelector('details').open = true")
            assert violations(browser, axe) == []
            pages.press("Refresh the views now")
            pages.sees("Done: the views are refreshed.")
            daemon.wait_for("refresh.finished")
            pages.press("Pause refreshes")
            pages.sees("A pause needs a reason.")
            browser.devtools("Input.insertText", text="import")
            pages.press("Pause refreshes")
            pages.sees("Done: refreshes are paused until")
            assert daemon.wait_for("refresh.paused")["reason_text"] == "import"
            pages.press("End every pause")
            pages.sees("Done: 1 ended.")
            assert browser.complaints() == []
            pages.sign_in(other)
            pages.show("freshness")
            browser.run("document.querySelector('details').open = true")
            pages.press("End every pause")
            pages.sees("Only operators may ask for this")


@pytest.mark.nightly
def test_the_pages_wait_for_the_database(
    browser: Browser, fault_server: FaultServer, screenshots: Path, tmp_path: Path
) -> None:
    """While it is away one message says so, when the next try is, and the figures come by themselves."""
    browser.shape()
    with fault_server.connect() as connection:
        own, secret = install_api(fault_server.dsn, connection, "api", tmp_path)
    key = make_key(fault_server.dsn, "--all-organizations")
    with Api(own, secret) as api:
        pages = PagesInBrowser(browser, api.port)
        pages.sign_in(key)
        fault_server.server.stop("immediate")
        # answers that the browser may keep are shown all the same
        pages.show("types")
        pages.sees("The figures cannot be read now.")
        assert pages.browser.run("return document.querySelectorAll('[role=alert]').length") == 1
        pages.sees("Next try in")
        browser.screenshot(screenshots / "pages-database-away.png")
        fault_server.server.start()
        eventually(lambda: "cannot be read" not in pages.text, within=60)
        pages.loaded("types")


@pytest.mark.nightly
def test_the_limit_is_said_and_waited_for(browser: Browser, world: World) -> None:
    """A page that asks for more than is left says until when, and what is dear waits for a press."""
    browser.shape()
    with Api(world.own, world.secret, api__requests_per_hour={"pro": 40, "free": 40}, api__burst=1.0) as api:
        pages = PagesInBrowser(browser, api.port)
        pages.sign_in(world.tenant)
        assert "requests left this hour" in pages.text
        pages.show("organizations")
        pages.sees("Show (counts as 10 requests)")
        for _ in range(14):
            api.ask("actions/success-rate?days=2", world.tenant)
            api.ask("failures/recent", world.tenant)
        pages.show("failures")
        pages.sees("All requests of this key are used for now.")
        assert pages.browser.run("return document.querySelectorAll('[role=alert]').length") == 1
