"""Answers requests to the endpoints of the catalogue."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from analytics_refreshd.api.access.limits import ConcurrentQueries
from analytics_refreshd.api.access.principal import Gate, Principal
from analytics_refreshd.api.answers import document, links
from analytics_refreshd.api.asking import Asked, asked, not_usable
from analytics_refreshd.api.cache import LARGEST_BYTES, Answer, AnswerCache, Key
from analytics_refreshd.api.exchange import Reply, Request, admitted, as_json
from analytics_refreshd.api.freshness import Successes, Timing, any_stale, entity_tag, matches
from analytics_refreshd.api.problems import Problem, invalid
from analytics_refreshd.api.reader import Reader
from analytics_refreshd.api.routes import FRESHNESS, ORGANIZATION, SCHEMA, Route
from analytics_refreshd.api.spool import MEDIA_TYPE as CSV
from analytics_refreshd.api.spool import MOST_BYTES, Spool, TooLargeError
from analytics_refreshd.api.status import read_status, status_document
from analytics_refreshd.core.access import READ_STORED
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row, bind
from analytics_refreshd.postgres.catalogue.sources import Sources
from analytics_refreshd.postgres.catalogue.spans import ParameterError
from analytics_refreshd.postgres.tenants.wall import Wall

_VARY = "Accept, Accept-Encoding, Authorization, X-API-Key, X-Organization-ID"
_NOT_KEPT = "private, no-cache"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Answers what the gate admits. Every answer is made in the caller's thread, which may wait for the database.

    With `stored_errors` owners and admins read error texts as they are stored.
    """

    gate: Gate
    reader: Reader
    timing: Timing
    clock: Clock
    wall: Wall
    queries: ConcurrentQueries
    cache: AnswerCache
    stored_errors: bool = False

    def answer(self, route: Route, request: Request) -> Reply:
        """Return the answer, or the problem document that stands for it. Never raises."""
        return admitted(
            request,
            lambda: self.gate.admit(request.headers, request.item(ORGANIZATION), request.address, route.endpoint.cost),
            lambda admission: self._answer(route, request, admission.principal),
        )

    def _answer(self, route: Route, request: Request, principal: Principal) -> Reply:
        question = asked(route, request.items, request.places, request.headers.get("accept", ""))
        now = self.clock.now()
        if route.query.name == FRESHNESS:
            return self._status(route, question, principal, now)
        bound = self._bound(route, question, principal, now)
        asking = _Asking(route, request, question, principal, bound, bound.sources, now)
        if asking.sources.rows:
            return self._read(asking, None)
        successes = self.reader.known().successes
        tag = self._tag(asking, successes)
        if tag is None:
            return self._read(asking, None)
        if (header := request.headers.get("if-none-match")) is not None and matches(tag, header):
            return Reply(304, b"", headers=self._kept(tag, asking, successes))
        key = Key.of(principal, tag)
        stale = any_stale(asking.sources.views, successes, self.timing, now)
        kept = self.cache.get(key, stale=stale)
        return self._read(asking, key) if kept is None else self._reply(asking, kept)

    def _read(self, asking: "_Asking", key: Key | None) -> Reply:
        """Read an answer, one at a time of those with the same key, and keep it."""
        with self.queries.slot(asking.principal, asking.request.address):
            if asking.question.csv:
                return self._csv(asking)
            answer = self.cache.once(key, lambda: self._made(asking)) if key else self._made(asking)
        return self._reply(asking, answer)

    def _made(self, asking: "_Asking") -> Answer:
        route, bound = asking.route, asking.bound
        beside = self._beside(route, asking.principal, asking.now)
        with _refusing():
            reading = self.reader.read(bound, asking.question.page, beside, stored=self._stored(asking))
        rows, successes = reading.page.rows, reading.known.successes
        if route.endpoint.shape == "object" and len(rows) != 1:
            raise _nothing()
        body = as_json(document(route, asking.question, reading, self.timing, asking.now))
        stale = any_stale(asking.sources.views, successes, self.timing, asking.now)
        tag = self._tag(asking, successes)
        answer = Answer(body, len(rows), successes, tag, stale, reading.page.total)
        return self._keep(asking, answer)

    def _keep(self, asking: "_Asking", answer: Answer) -> Answer:
        if answer.tag is not None:
            self.cache.put(Key.of(asking.principal, answer.tag), answer)
        return answer

    def _reply(self, asking: "_Asking", answer: Answer) -> Reply:
        headers = {**self._kept(answer.tag, asking, answer.successes), **answer.headers}
        if asking.route.endpoint.shape == "list" and not asking.question.csv:
            link = links(asking.request.path, asking.request.items, answer.total or 0, asking.question)
            headers |= {"Link": link} if link else {}
        return Reply(200, answer.body, answer.content_type, headers, rows=answer.rows)

    def _csv(self, asking: "_Asking") -> Reply:
        route = asking.route
        names = [field.name for field in route.endpoint.fields]
        spool, count = Spool(), 0

        def take(rows: Iterator[Row]) -> None:
            nonlocal spool, count
            spool.close()
            spool = Spool()
            count = spool.write(names, rows)

        try:
            with _refusing():
                successes = self.reader.export(asking.bound, asking.question.page, take, stored=self._stored(asking))
        except TooLargeError:
            spool.close()
            raise invalid(f"the rows are over {MOST_BYTES >> 20} MiB: ask for less, or page by page") from None
        except BaseException:
            spool.close()
            raise
        if route.endpoint.shape == "object" and count != 1:
            spool.close()
            raise _nothing()
        tag = self._tag(asking, successes)
        if tag is None or spool.size > LARGEST_BYTES:
            return self._file(route, spool, count, self._kept(tag, asking, successes))
        stale = any_stale(asking.sources.views, successes, self.timing, asking.now)
        body = b"".join(spool.pieces())
        answer = Answer(body, count, successes, tag, stale, content_type=CSV, headers=_attached(route, len(body)))
        return self._reply(asking, self._keep(asking, answer))

    def _file(self, route: Route, spool: Spool, count: int, headers: dict[str, str]) -> Reply:
        return Reply(200, b"", CSV, headers | _attached(route, spool.size), rows=count, spool=spool)

    def _bound(self, route: Route, question: Asked, principal: Principal, now: datetime) -> BoundQuery:
        organizations = principal.organizations
        if organizations is not None and not route.query.organizations:
            raise Problem(403, "forbidden", "this answer tells of every organization, and this key is not for all")
        with _refusing():
            bound = bind(route.query, question.given, organizations, now, SCHEMA, question.filters)
        return self._admitting(bound, organizations)

    def _admitting(self, bound: BoundQuery, organizations: Sequence[str] | None) -> BoundQuery:
        """Return the query so that its transaction is admitted to the organizations alone."""
        return replace(bound, admit=lambda connection: self.wall.admit(connection, organizations))

    def _beside(self, route: Route, principal: Principal, now: datetime) -> BoundQuery | None:
        """Return the query whose row is added to the rows."""
        if route.summary is None:
            return None
        return bind(route.summary, {}, principal.organizations, now, SCHEMA)

    def _stored(self, asking: "_Asking") -> bool:
        return self.stored_errors and asking.principal.role in READ_STORED

    def _tag(self, asking: "_Asking", successes: Successes) -> str | None:
        bound, question = asking.bound, asking.question
        if asking.sources.rows:
            return None
        window = bound.query.window
        steps = window is not None and window.step is not None
        times = [bound.values["since"], bound.values["until"]] if steps else []
        asks = [
            asking.route.name,
            question.csv,
            dict(question.parameters),
            question.page.limit,
            question.page.offset,
            question.page.order,
        ]
        known = [bound.values.get("organizations"), self._stored(asking)]
        return entity_tag(asking.sources.views, successes, [*asks, *known, *times])

    def _kept(self, tag: str | None, asking: "_Asking", successes: Successes) -> dict[str, str]:
        """Return the headers by which an answer may be kept."""
        if tag is None:
            return {"Cache-Control": _NOT_KEPT, "Vary": _VARY}
        read = [at for view, at in successes.items() if view in asking.sources.views]
        left = self.timing.seconds_left(read, asking.now)
        return {"Cache-Control": f"private, max-age={left}", "ETag": tag, "Vary": _VARY}

    def _status(self, route: Route, question: Asked, principal: Principal, now: datetime) -> Reply:
        sizes = self._bound(route, question, principal, now) if principal.organizations is None else None
        found = read_status(self.reader, route, sizes)
        body = status_document(route, question, found, self.timing, now)
        headers = {"Cache-Control": _NOT_KEPT, "Vary": _VARY}
        rows = body["data"]
        assert isinstance(rows, list)  # noqa: S101 - the document's data are the views
        if question.csv:
            names, spool = [field.name for field in route.endpoint.fields], Spool()
            return self._file(route, spool, spool.write(names, (list(row.values()) for row in rows)), headers)
        return Reply(200, as_json(body), headers=headers, rows=len(rows))


@dataclass(frozen=True, slots=True)
class _Asking:
    """One request, as far as it is understood."""

    route: Route
    request: Request
    question: Asked
    principal: Principal
    bound: BoundQuery
    sources: Sources
    now: datetime


@contextmanager
def _refusing() -> Iterator[None]:
    """Tell the caller what the catalogue refuses."""
    try:
        yield
    except ParameterError as error:
        raise not_usable(error) from None


def _attached(route: Route, size: int) -> dict[str, str]:
    name = "-".join(part for part in route.name.split("/") if "{" not in part)
    return {"Content-Disposition": f'attachment; filename="{name}.csv"', "Content-Length": str(size)}


def _nothing() -> Problem:
    return Problem(404, "not_found", "there is nothing of that name that this key may see")
