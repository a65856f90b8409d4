"""Fuzzing: what people and strangers hand in is read or refused in one sentence, without end of memory or of time.

REFRESHD_TEST_FUZZ_SECONDS says for how long each reader is fed (1); `.ci/nightly` gives ten minutes.
REFRESHD_TEST_FUZZ_SEED repeats a run; a failure names the seed and its input.
"""

import gc
import json
import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from analytics_refreshd.config.loading import load
from analytics_refreshd.core.errors import RefreshdError
from analytics_refreshd.core.evaluation import contract_problems, evaluate_reports
from analytics_refreshd.core.model import VIEWS, LockSample, Reason, ViewReport
from analytics_refreshd.demo.csvlog import read_log
from analytics_refreshd.incident.document import as_document
from analytics_refreshd.incident.markdown import document
from analytics_refreshd.incident.review import review
from analytics_refreshd.observe.http import HttpServer, HttpSettings
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.postgres.catalogue.files import parse
from tests.support.fakes import FakeHealth
from tests.support.log_lines import line
from tests.support.states import healthy

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("REFRESHD_TEST_FUZZ_SECONDS", "1"))
SEED = int(os.environ.get("REFRESHD_TEST_FUZZ_SEED", str(time.time_ns() % 1_000_000)))
_SLOWEST_SECONDS = 10.0
"""An input of some kilobytes that takes longer than this hangs its reader, on any machine."""
_MOST_GROWTH_BYTES = 64 << 20

pytestmark = [pytest.mark.quick, pytest.mark.timeout(SECONDS + 120)]

_WORDS = (
    "\0|\r\n|\n|\"|'|\\|{|}|[|]|,|;|--|=|:|%|$|-1|0|1e999|NaN|Infinity|99999999999999999999|0001-01-01|null|true|"
    "9999-12-31T23:59:59+14:00|\u202e\u00e9\U0001f4a3|\x1b[2J"
)
_BITS = [*(word.encode() for word in _WORDS.split("|")), b"\xff", b"\xef\xbb\xbf", b" " * 300, b"a" * 5000, b"[" * 2000]


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """One of the seeds, with a few bytes, words or stretches of it or of another changed, doubled, cut or moved."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        until = min(len(data), at + chance.choice((0, 1, 2, 8, 40, 400)))
        kind = chance.randrange(6)
        if kind == 0:
            data[at:until] = chance.choice(_BITS)
        elif kind == 1:
            data[at:at] = chance.choice(_BITS)
        elif kind == 2 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 3:
            del data[at:until]
        elif kind == 4:
            data[at:at] = data[at:until] * chance.randint(1, 4)
        else:
            other = chance.choice(seeds)
            begin = chance.randrange(len(other) + 1)
            data[at:until] = other[begin : begin + chance.choice((1, 10, 100))]
    return bytes(data[:50_000])


def accepted(take: Callable[[bytes], object], given: bytes) -> bool:
    """Whether `take` does not refuse this."""
    try:
        take(given)
    except RefreshdError:
        return False
    return True


def feed(take: Callable[[bytes], object], seeds: list[bytes], record: Callable[[str, object], None]) -> None:
    """Feed `take` for SECONDS. It may raise RefreshdError, whose text is one that people can read."""
    chance = random.Random(SEED)
    process = psutil.Process()
    # otherwise all the rest could be refused for one reason
    assert any(accepted(take, seed) for seed in seeds)
    sentences: list[str] = []
    deadline, fed, refused, slowest, began_with = time.monotonic() + SECONDS, 0, 0, 0.0, 0
    while time.monotonic() < deadline or fed < 50:
        given = mutated(seeds, chance)
        begun = time.monotonic()
        try:
            take(given)
        except RefreshdError as error:
            refused += 1
            sentences.append(str(error))
        except BaseException as error:
            raise AssertionError(f"seed {SEED}, input {fed}: {type(error).__name__} for {given[:4000]!r}") from error
        slowest = max(slowest, time.monotonic() - begun)
        assert all(0 < len(sentence.strip()) < 50_000 for sentence in sentences), f"seed {SEED}: {given[:4000]!r}"
        sentences.clear()
        assert slowest < _SLOWEST_SECONDS, f"seed {SEED}, input {fed} took {slowest:.1f} s: {given[:4000]!r}"
        fed += 1
        if fed == 50:
            # what is read once and kept, modules and patterns, is no growth
            gc.collect()
            began_with = process.memory_info().rss
    gc.collect()
    grown = process.memory_info().rss - began_with
    record("fuzzed", f"{fed} inputs, {refused} refused, slowest {slowest:.3f} s, {grown / 2**20:+.1f} MiB, seed {SEED}")
    print(f"\n{fed} inputs, {refused} refused, slowest {slowest * 1000:.0f} ms, {grown / 2**20:+.1f} MiB, seed {SEED}")
    assert grown < _MOST_GROWTH_BYTES, f"seed {SEED}: {grown} bytes more after {fed} inputs"


def test_configuration(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """A configuration file is taken, or refused with every problem named."""
    path = tmp_path / "config.toml"
    good = b'[database]\nurl = "postgresql:///app"\n'
    seeds = [
        good,
        good + (ROOT / "config.example.toml").read_bytes().replace(b"\n# ", b"\n").replace(b"[database]", b""),
    ]
    seeds += [good, good + b"[schedule]\ninterval = '5m'\n[log]\nformat = 'console'\n"] * 3
    seeds += [good + b'[receivers.ops]\ntype = "webhook"\nurl = "https://example.net/x"\n[staleness.views]\na = "5m"\n']

    def take(given: bytes) -> None:
        path.write_bytes(given)
        load(path)

    feed(take, seeds, record_property)


def test_query_headers(record_property: Callable[[str, object], None]) -> None:
    """A query file is a query, or refused with its line."""
    files = sorted((ROOT / "src/analytics_refreshd/postgres/catalogue").glob("*.sql"))
    feed(
        lambda given: parse(given.decode("utf-8", "replace"), "mine.sql"),
        [f.read_bytes() for f in files],
        record_property,
    )


def test_csv_input(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """A log of actions is loaded, or refused with its line."""
    path = tmp_path / "log.csv"
    head = b"id,job_id,trigger_id,event_id,action_type,status,executed_at,duration_ms,error_message,response_data,"
    head += b"retry_count,organization_id\n"
    row = b'a%d,j1,t1,e1,rest,success,2024-10-30T00:32:0%d+00:00,800,"it broke","{""code"":200}",0,acme\n'

    def take(given: bytes) -> None:
        path.write_bytes(given)
        log = read_log(path)
        for _ in log.actions(healthy().now):
            pass

    feed(take, [head + b"".join(row % (n, n) for n in range(5)), head + row % (1, 1)], record_property)


def test_log_lines(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Whatever stands in a log, the review is made, as JSON and as text; what it is not is counted."""
    path = tmp_path / "daemon.log"
    events = [
        line(0, "daemon.started", version="0.3.0", pid=1, http="x", interval_seconds=300.0),
        line(1, "refresh.finished", outcome="failed", reason="timeout", error="slow", duration_seconds=9.0),
        line(2, "view.stale", view="a", age_seconds=900.0, max_age_seconds=600.0, last_success_at=None),
        line(3, "database.lost", error="gone", sqlstate=None, reason="connect"),
        line(4, "database.restored", seconds=60.0, missed_slots=2),
        line(5, "refresh.finished", outcome="ok", duration_seconds=1.0),
    ]
    trouble = [json.dumps(event) for event in events]
    plain = "".join(text + "\n" for text in trouble).encode()
    kubectl = "".join(f"2026-03-01T12:00:00.000000000Z stdout F {text}\n" for text in trouble).encode()
    journal = "".join(json.dumps({"MESSAGE": text, "_PID": "1"}) + "\n" for text in trouble).encode()

    def take(given: bytes) -> None:
        path.write_bytes(given)
        found = review([str(path)])
        json.dumps(as_document(found), allow_nan=False, default=str)
        list(document(found))

    feed(take, [plain, kubectl, journal], record_property)


def test_http_requests(record_property: Callable[[str, object], None]) -> None:
    """The port answers each request or closes, in bounded time, and answers a probe after it."""
    server = HttpServer(HttpSettings(port=0), FakeHealth(healthy()), PrometheusMetrics("orders", "0.1.0", VIEWS))
    port = int(str(server.start()).rpartition(":")[2])

    def ask(given: bytes) -> bytes:
        received = b""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=_SLOWEST_SECONDS) as client,
            suppress(ConnectionError),
        ):
            client.sendall(given)
            client.shutdown(socket.SHUT_WR)
            while chunk := client.recv(65536):
                received += chunk
        return received

    def take(given: bytes) -> None:
        answer = ask(given)
        assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:200]
        assert b" 500 " not in answer[:20], answer[:200]
        assert ask(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 200 ")

    seeds = [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/html\r\n\r\n",
        b"GET /status.json?x=%00 HTTP/1.0\r\nHost: localhost:9720\r\nConnection: keep-alive\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ]
    try:
        feed(take, seeds, record_property)
    finally:
        server.close()


def test_function_rows(record_property: Callable[[str, object], None]) -> None:
    """Whatever rows a function returns, every view expected has one result, and the run one outcome."""
    words: list[Any] = [None, "", "x" * 5000, "\0\x1b[2J", "\u202e", *VIEWS]
    numbers: list[Any] = [None, 0, -1, 2**63 - 1, 1e300]
    seconds: list[Any] = [None, 0.0, -1.0, float("nan"), float("inf"), 1e300, 5.0]

    def take(given: bytes) -> None:
        chance = random.Random(given)
        reports = [
            ViewReport(
                chance.choice(words),
                reported_seconds=chance.choice(seconds),
                rows=chance.choice(numbers),
                success=chance.choice((True, False, None)),
                error=chance.choice(words),
                sqlstate=chance.choice((None, "", "55P03", "x" * 99)),
                reason=chance.choice((None, *Reason)),
            )
            for _ in range(chance.choice((0, 1, 4, 5, 300)))
        ]
        samples = tuple(LockSample(at / 2, frozenset(chance.sample(VIEWS, 2))) for at in range(chance.randint(0, 9)))
        expected = chance.choice((VIEWS, VIEWS[:1], (), ("other",)))
        found = evaluate_reports(expected, reports, samples, chance.choice((0.0, 3.0, 1e6)))
        assert [view.view for view in found.views] == list(expected)
        assert all(view.success or view.error for view in found.views)
        json.dumps([problem for problem in contract_problems(found)])

    feed(take, [bytes(range(64))], record_property)
