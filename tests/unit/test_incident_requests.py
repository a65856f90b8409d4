"""The API's lines in the review: what failed meanwhile, and whose process they are not."""

from typing import Any

from analytics_refreshd.incident import markdown
from analytics_refreshd.incident.document import FIELDS
from analytics_refreshd.incident.model import LIMIT, FailedRequests
from tests.support.log_lines import at, fold, line, run


def answered(minutes: float, status: Any = 503, code: Any = "service_unavailable", **more: Any) -> Any:
    """`request.finished`."""
    return line(minutes, "request.finished", status=status, code=code, **{"endpoint": "triggers/slowest"} | more)


def failed(minutes: float) -> dict[str, Any]:
    """A run that failed."""
    return run(minutes, "failed", reason="deadlock", sqlstate="40P01", error="deadlock detected")


def test_failed_requests_are_counted_from_before_the_run_that_failed_to_the_end() -> None:
    """Those of 500 and above, of a time with an incident."""
    early = answered(-1)
    lines = [early, run(0), answered(4, endpoint="actions/hourly"), failed(5), answered(6, 500, "internal_error")]
    lines += [answered(7, 200, None), answered(7.1, 429, "rate_limited"), answered(8), run(10), answered(11)]
    (found,) = fold(lines).incidents
    codes = {"service_unavailable": 2, "internal_error": 1}
    endpoints = {"triggers/slowest": 2, "actions/hourly": 1}
    assert found.failed_requests == FailedRequests(3, codes, endpoints, at(4), at(8))
    words = dict(markdown.facts(found))["API"][0]
    assert words.startswith("3 requests failed, from ")
    assert words.endswith(": 2 service_unavailable, 1 internal_error; 2 triggers/slowest, 1 actions/hourly")
    assert set(FIELDS[FailedRequests]) == set(FailedRequests.__slots__)


def test_requests_alone_are_no_incident() -> None:
    """Nor does a healthy time say anything of them; whatever a field holds does no harm."""
    assert fold([run(0), answered(1), answered(2), run(5)]).incidents == ()
    (found,) = fold([run(0), failed(5), run(10)]).incidents
    assert found.failed_requests is None
    assert "API" not in dict(markdown.facts(found))
    odd = [answered(6, status="503"), answered(6.1, status=None), answered(6.2, code=[1], endpoint={})]
    (found,) = fold([run(0), failed(5), *odd, run(10)]).incidents
    assert found.failed_requests == FailedRequests(1, {"503": 1}, {"other": 1}, at(6.2), at(6.2))


def test_names_are_bounded() -> None:
    """Beyond the limit they count as others."""
    many = [answered(6 + number / 100, endpoint=f"custom/{number}") for number in range(LIMIT + 20)]
    (found,) = fold([run(0), failed(5), *many, run(10)]).incidents
    assert found.failed_requests is not None
    assert found.failed_requests.count == sum(found.failed_requests.endpoints.values()) == LIMIT + 20
    assert len(found.failed_requests.endpoints) == LIMIT + 1


def test_the_apis_lines_are_not_the_daemons() -> None:
    """A daemon that was killed was last heard of in its own lines, also where an API has its name."""
    started = [line(-5, "daemon.started", pid=1, interval_seconds=300.0), line(9, "daemon.started", pid=2)]
    lines = [started[0], run(0), failed(5), answered(8), line(8.5, "api.started"), started[1], run(10)]
    (found,) = fold(lines).incidents
    assert [crash.last_at for crash in found.crashes] == [at(5.1)]
