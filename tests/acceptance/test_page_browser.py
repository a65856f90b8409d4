"""The page in a real browser: every state of trouble, light and dark, narrow and wide, with and without scripts.

Screenshots go to the folder that REFRESHD_TEST_SCREENSHOTS names, else to `screenshots` in pytest's own.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from analytics_refreshd.core.alerts.lifecycle import Alert, AlertRecord, AlertState, Severity
from analytics_refreshd.core.model import VIEWS, Blocker, LeaderInfo, Outcome, Pause, Progress, Reason, Role
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.observe.http import HttpServer, HttpSettings
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from tests.support.browser import Browser, missing, violations
from tests.support.fakes import FakeHealth
from tests.support.states import MONOTONIC, NOW, a_day, healthy, run_at, view_state
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\x1b[31m &lt; "


def database_down() -> Snapshot:
    """The database went away an hour ago; ages were last read then."""
    since = NOW - timedelta(hours=1)
    runs = tuple(run for run in a_day() if run.started_at < since)
    alert = AlertRecord(
        Alert.DATABASE_UNAVAILABLE,
        "",
        AlertState.FIRING,
        Severity.CRITICAL,
        since,
        since + timedelta(minutes=2),
        summary="orders: the database does not answer",
        description="connection refused. Next: analytics-refreshd check",
    )
    return healthy(
        runs=runs,
        views=tuple(view_state(view, age_seconds=120.0) for view in VIEWS),
        alerts=(alert,),
        delivery={
            "ops": "delivered 2026-03-01T13:09:04Z",
            "beat": "failing, 3 in a row, last 2026-03-01T14:05:00Z: 503",
        },
        database_up=False,
        database_down_since=since,
        database_error="connection refused",
        evaluated_monotonic=MONOTONIC - 3600,
    )


def nothing_ever_run() -> Snapshot:
    """A daemon that has just been started on a new database."""
    return healthy(
        runs=(),
        views=tuple(view_state(view, age_seconds=None, rows=None) for view in VIEWS),
        rates=None,
        leader=None,
        role=Role.STARTING,
        next_run_at=None,
        history_available=False,
    )


def hung_loop() -> Snapshot:
    """Nothing has happened for half an hour, though the database answers."""
    return healthy(
        evaluated_monotonic=MONOTONIC - 1800,
        scheduler_seen_monotonic=MONOTONIC - 1790,
        next_run_at=NOW - timedelta(minutes=28),
    )


def paused() -> Snapshot:
    """Somebody suspended refreshes for an upgrade."""
    pause = Pause(NOW - timedelta(minutes=50), NOW + timedelta(minutes=70), "upgrade to 18.7", "alice")
    return healthy(pause=pause, views=tuple(view_state(view, age_seconds=3000) for view in VIEWS))


def blocked() -> Snapshot:
    """A refresh waits on a session with a name."""
    blocker = Blocker(812, "etl", "nightly-etl", "idle in transaction", None, NOW.replace(hour=2, minute=14), None)
    progress = Progress(UUID(int=999), NOW - timedelta(seconds=44), 44.0, VIEWS[1], 41.0, blocker, 41.0)
    return healthy(progress=progress)


def fifty_views() -> Snapshot:
    """Fifty views, each of them failing with a long error full of markup."""
    views = tuple(f"analytics_of_department_{number:02}" for number in range(50))
    failing = run_at(5000, NOW - timedelta(minutes=2), views, outcome=Outcome.FAILED, failed=views, error=HOSTILE * 99)
    runs = (failing, *a_day(views)[1:])
    return healthy(views, runs=runs, views=tuple(view_state(view, age_seconds=4000) for view in views))


def huge_error() -> Snapshot:
    """Five megabytes of error text with markup in it."""
    runs = (
        run_at(5000, NOW, outcome=Outcome.PARTIAL, failed=[VIEWS[2]], error=(HOSTILE * 70_000)[:5_000_000]),
        *a_day(),
    )
    alert = AlertRecord(
        Alert.REFRESH_FAILED, VIEWS[2], AlertState.FIRING, Severity.WARNING, NOW, NOW, None, HOSTILE * 9, HOSTILE * 9000
    )
    return healthy(runs=runs, views=tuple(view_state(view) for view in VIEWS), alerts=(alert,))


def standby() -> Snapshot:
    """A replica that waits; another one refreshes."""
    return healthy(role=Role.STANDBY, leader=LeaderInfo("host-2", 4712, NOW))


STATES: dict[str, tuple[Callable[[], Snapshot], tuple[str, ...]]] = {
    "healthy": (healthy, ("All 4 views fresh", "No alert fires or is pending", "98.63 %", "in 2 min 30 s")),
    "database_down": (
        database_down,
        (
            "4 of 4 views stale",
            "has not answered since 2026-03-01 13:07 UTC (1 h): connection refused",
            "AnalyticsDatabaseUnavailable",
            "Delivery to ops: delivered 2026-03-01T13:09:04Z",
            "Delivery to beat: failing, 3 in a row",
            "1 h 2 min",
        ),
    ),
    "nothing_ever_run": (
        nothing_ever_run,
        (
            "4 of 4 views never seen refreshed",
            "age unknown",
            "No run yet",
            "the status function knows no last refresh",
            "not known",
            "none planned",
        ),
    ),
    "hung_loop": (
        hung_loop,
        (
            "4 of 4 views stale",
            "Nothing has been evaluated for 30 min",
            "no sign of life for 29 min 50 s",
            "overdue by 28 min",
        ),
    ),
    "paused": (
        paused,
        ("Refreshes are paused by alice until 2026-03-01 15:17 UTC: upgrade to 18.7", "4 of 4 views stale"),
    ),
    "blocked": (
        blocked,
        (
            "A refresh of trigger_performance_summary has been running for 44 s",
            "waits 41 s on pid 812, nightly-etl, idle in transaction since 02:14 UTC",
        ),
    ),
    "fifty_views": (fifty_views, ("50 of 50 views stale", "analytics_of_department_49", "<script>document.title")),
    "huge_error": (huge_error, ("<script>document.title='owned'</script>", "failed: data")),
    "standby": (standby, ("This replica stands by; host-2 refreshes", "All 4 views fresh")),
}


class Shown:
    """A page server, and the browser that looks at it."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.browser = browser
        self.folder = folder
        self.health = FakeHealth(healthy())
        metrics = PrometheusMetrics("orders", "0.1.0", VIEWS)
        self.server = HttpServer(HttpSettings(port=0), self.health, metrics)
        self.url = f"http://127.0.0.1:{self.server.start()}/"

    def show(self, state: Snapshot, **shape: object) -> None:
        self.health.current = state
        self.browser.shape(**shape)  # type: ignore[arg-type]
        self.browser.open(self.url)

    @property
    def text(self) -> str:
        return " ".join(str(self.browser.run("return document.body.textContent")).split())


@pytest.fixture
def shown(browser: Browser, screenshots: Path) -> Iterator[Shown]:
    made = Shown(browser, screenshots)
    yield made
    made.server.close()


@pytest.mark.quick
@pytest.mark.parametrize("name", STATES)
def test_the_page_is_true_in_every_state(shown: Shown, name: str) -> None:
    """The words that matter are there, nothing overflows, the browser has nothing to complain of."""
    make, expected = STATES[name]
    shown.show(make())
    text = shown.text
    for words in expected:
        assert words in text, words
    assert "owned" not in shown.browser.run("return document.title")
    assert shown.browser.run("return document.querySelectorAll('main script, main img').length") == 0
    assert shown.browser.complaints() == []
    shown.browser.screenshot(shown.folder / f"{name}.png")


@pytest.mark.parametrize("width", [360, 768, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["healthy", "database_down", "huge_error"])
def test_the_page_fits_every_width_in_light_and_dark(shown: Shown, name: str, scheme: str, width: int) -> None:
    """No sideways scrolling from a telephone to a wall, in both colour schemes."""
    shown.show(STATES[name][0](), width=width, dark=scheme == "dark")
    assert shown.browser.run("return document.documentElement.scrollWidth <= innerWidth")
    dark = shown.browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 128")
    assert dark is (scheme == "dark")
    shown.browser.screenshot(shown.folder / f"{name}-{scheme}-{width}.png")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", STATES)
def test_axe_finds_no_violation(shown: Shown, axe: str, name: str, scheme: str) -> None:
    """WCAG 2.2 AA and axe's best practices hold in every state, in both colour schemes, with and without scripts."""
    shown.show(STATES[name][0](), dark=scheme == "dark")
    assert violations(shown.browser, axe) == []


def test_axe_finds_no_violation_on_a_telephone(shown: Shown, axe: str) -> None:
    """The narrow layout is as accessible as the wide one, with the details open."""
    shown.show(database_down(), width=360)
    shown.browser.run("document.querySelector('details').open = true")
    assert violations(shown.browser, axe) == []


def test_the_page_works_without_scripts(shown: Shown) -> None:
    """All that is known is in the document, and the browser is told to load it anew by itself."""
    shown.show(database_down(), script=False)
    document = str(
        shown.browser.devtools("Runtime.evaluate", expression="document.documentElement.outerHTML")["result"]
    )
    assert '<meta http-equiv=\\"refresh\\"' in document or "http-equiv" in document
    assert "data-script" not in document
    assert "connection refused" in document
    shown.browser.screenshot(shown.folder / "database_down-without-scripts.png")


def test_ages_and_countdown_run_by_themselves(shown: Shown) -> None:
    """Each second the ages are a second older and the next run a second nearer."""
    shown.show(healthy())
    before = shown.browser.run("return document.querySelector('[data-age]').textContent")
    assert before in ("2 min 35 s", "2 min 36 s")
    eventually(lambda: shown.browser.run("return document.querySelector('[data-age]').textContent") not in ("", before))
    left = shown.browser.run("return document.querySelector('[data-until]').textContent")
    assert left < "in 2 min 30 s"


def test_a_view_goes_stale_before_the_eyes(shown: Shown) -> None:
    """When an age passes its limit the word and the colour follow without a reload."""
    shown.show(healthy(views=tuple(view_state(view, age_seconds=593.5) for view in VIEWS)))
    assert shown.browser.run("return document.querySelector('li .badge').textContent") == "late"
    eventually(lambda: shown.browser.run("return document.querySelector('li .badge').textContent") == "stale")


def test_the_page_renews_itself_and_keeps_the_focus(shown: Shown) -> None:
    """New facts appear without a reload; whoever stands on the timeline stays there."""
    shown.show(healthy())
    shown.browser.run("window.kept = true; document.getElementById('slots').focus()")
    shown.browser.press("ArrowLeft")
    told = shown.browser.run("return document.getElementById('told').textContent")
    shown.health.current = healthy(next_run_at=NOW + timedelta(hours=3))
    eventually(lambda: "3 h" in shown.text or "2 h 59 min" in shown.text)
    assert shown.browser.run("return window.kept") is True
    assert shown.browser.run("return document.activeElement.id") == "slots"
    assert shown.browser.run("return document.getElementById('told').textContent") == told


def test_L28_the_next_command_is_copied(shown: Shown) -> None:
    """One press puts it into the clipboard; the page renews itself under the finger, and the focus stays."""
    shown.show(database_down())
    shown.browser.devtools("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    shown.browser.run("document.querySelector('.alerts .copy').focus()")
    shown.browser.press("Enter")
    eventually(lambda: shown.browser.run("return document.querySelector('.alerts .copy').textContent") == "Copied")
    read = "navigator.clipboard.readText().then(arguments[0], error => arguments[0]('' + error))"
    assert shown.browser.run_async(read) == "analytics-refreshd check"
    shown.browser.run("window.kept = document.querySelector('main')")
    eventually(lambda: shown.browser.run("return document.querySelector('main') !== window.kept"))
    assert shown.browser.run("return document.activeElement.className") == "copy"


def test_L28_a_view_shows_its_last_runs(shown: Shown) -> None:
    """What was opened stays open when the page renews itself."""
    shown.show(healthy())
    shown.browser.run(
        "document.querySelector('.card details').open = true; window.kept = document.querySelector('main')"
    )
    eventually(lambda: shown.browser.run("return document.querySelector('main') !== window.kept"))
    rows = "return document.querySelectorAll('.card details[open] tbody tr').length"
    assert shown.browser.run(rows) == 8
    shown.browser.screenshot(shown.folder / "last-runs.png")


def test_the_page_says_that_the_daemon_is_gone(shown: Shown) -> None:
    """A page left open on a dead daemon does not look alive: it says so, and ages go on."""
    shown.show(healthy())
    shown.server.close()
    shown.browser.run("const real = performance.now.bind(performance); performance.now = () => real() + 3600e3")
    eventually(lambda: "This daemon has not answered for 1 h" in shown.text)
    assert "1 h 2 min" in shown.text
    assert shown.browser.run("return document.querySelector('li .badge').textContent") == "stale"
    shown.browser.complaints()


def test_hover_and_keys_tell_the_run(shown: Shown) -> None:
    """Each slot of the day can be asked what happened in it, by pointer and by keyboard, aloud too."""
    shown.show(healthy(), width=1280, height=1600)
    box = shown.browser.run(
        "const box = document.querySelector('#slots svg').getBoundingClientRect();"
        "return [box.left, box.top, box.height]"
    )
    shown.browser.hover(round(box[0]) + 2, round(box[1] + box[2] / 2))
    assert shown.browser.run("return document.getElementById('told').textContent").startswith("02-28 14:10 UTC: ok, ")
    shown.browser.run("document.getElementById('slots').focus()")
    shown.browser.press("End")
    aloud = "return document.getElementById('slots').getAttribute('aria-valuetext')"
    assert shown.browser.run(aloud).startswith("03-01 14:05 UTC: ok, ")
    for _ in range(5):
        shown.browser.press("ArrowLeft")
    assert shown.browser.run(aloud).startswith("03-01 13:40 UTC: slow, ")
    shown.browser.press("Home")
    assert shown.browser.run(aloud).startswith("02-28 14:10 UTC: ok, ")


def test_everything_can_be_reached_by_tab(shown: Shown) -> None:
    """The timeline, the table of bad slots and the links are reached by the keyboard, and the focus is visible."""
    shown.show(healthy())
    reached = []
    for _ in range(8):
        shown.browser.press("Tab")
        reached.append(
            shown.browser.run(
                "const at = document.activeElement;"
                "return [at.id || at.textContent.slice(0, 11), getComputedStyle(at).outlineStyle]"
            )
        )
    assert [name for name, _ in reached] == [*["Last runs"] * 4, "slots", "Slots that ", "status.json", "metrics"]
    assert {style for _, style in reached} == {"solid"}


def test_the_picture_for_the_readme(shown: Shown) -> None:
    """What the README shows is this state; the file in deploy/ is its picture, reduced by pngquant."""
    firing = AlertRecord(
        Alert.REFRESH_FAILED,
        VIEWS[3],
        AlertState.FIRING,
        Severity.WARNING,
        NOW - timedelta(minutes=7),
        NOW - timedelta(minutes=2),
        summary="orders: refreshing action_type_distribution fails (lock_timeout)",
    )
    failing = [
        run_at(
            5000 + n,
            NOW - timedelta(minutes=2 + 5 * n),
            failed=VIEWS[3:],
            outcome=Outcome.PARTIAL,
            error="canceling statement due to lock timeout",
            reason=Reason.LOCK_TIMEOUT,
        )
        for n in (0, 1)
    ]
    runs = (*failing, *a_day()[2:])
    views = [view_state(view, age_seconds=150 if view != VIEWS[3] else 750) for view in VIEWS]
    delivery = {"ops": "delivered 2026-03-01T14:05:31Z"}
    state = healthy(runs=runs, views=tuple(views), alerts=(firing,), delivery=delivery)
    shown.show(state, width=1240)
    shown.browser.screenshot(shown.folder / "readme.png")
    committed = Path(__file__).parents[2] / "deploy" / "screenshot.png"
    assert committed.stat().st_size < 100_000
