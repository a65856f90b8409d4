"""Answers requests to the endpoints of the catalogue."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from analytics_refreshd.api.access.gate import AccessGate
from analytics_refreshd.api.access.limits import ConcurrentQueries
from analytics_refreshd.api.access.principal import Admission, Principal
from analytics_refreshd.api.answers import as_body, document, links
from analytics_refreshd.api.asking import Asked, asked, not_usable
from analytics_refreshd.api.cache import LARGEST_BYTES, Answer, AnswerCache, Key
from analytics_refreshd.api.exchange import PACKED, Reply, Request, Step, admitted, as_json, of_error, packed, told
from analytics_refreshd.api.freshness import Successes, Timing, any_stale, entity_tag, matches
from analytics_refreshd.api.problems import Problem, invalid
from analytics_refreshd.api.reader import Admitted, Reader
from analytics_refreshd.api.routes import FRESHNESS, ORGANIZATION, SCHEMA, Route
from analytics_refreshd.api.spool import MEDIA_TYPE as CSV
from analytics_refreshd.api.spool import MOST_BYTES, Spool, TooLargeError
from analytics_refreshd.api.status import read_status, status_document
from analytics_refreshd.core.access import READ_STORED
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row, bind
from analytics_refreshd.postgres.catalogue.settings import DEFAULTS, QuerySettings
from analytics_refreshd.postgres.catalogue.sources import Sources
from analytics_refreshd.postgres.catalogue.spans import ParameterError

_VARY = "Accept, Accept-Encoding, Authorization, X-API-Key, X-Organization-ID"
_NOT_KEPT = "private, no-cache"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Answers what the gate admits.

    With `stored_errors` owners and admins read error texts as they are stored. `settings` hold prices and
    thresholds.
    """

    gate: AccessGate
    reader: Reader
    timing: Timing
    clock: Clock
    queries: ConcurrentQueries
    cache: AnswerCache
    stored_errors: bool = False
    settings: QuerySettings = DEFAULTS

    def answer(self, route: Route, request: Request) -> Step:
        """Return the answer that memory gives, else what makes it.

        Only the latter may wait for the database. Neither raises: a problem document stands for a failure. For the
        server's loop.
        """
        admission: Admission | None = None
        try:
            admission = self.gate.admit_remembered(*_asks_as(route, request))
            if admission is None:
                return lambda: self._admitted(route, request)
            step = self._begun(route, request, admission)
        except Exception as error:
            step = of_error(error, request.request_id)
        return told(step, admission) if isinstance(step, Reply) else step

    def _admitted(self, route: Route, request: Request) -> Reply:
        def work(admission: Admission) -> Reply:
            step = self._begun(route, request, admission)
            return step if isinstance(step, Reply) else step()

        return admitted(request, lambda: self.gate.admit(*_asks_as(route, request)), work)

    def _begun(self, route: Route, request: Request, admission: Admission) -> Step:
        """Read what is asked; return the answer if it is kept, else what reads it."""
        principal = admission.principal
        question = asked(route, request.items, request.places, request.headers.get("accept", ""))
        now = self.clock.now()
        if route.query.name == FRESHNESS:
            return self._later(request, admission, lambda: self._status(route, question, principal, now))
        bound = self._bound(route, question, principal, now)
        asking = _Asking(route, request, question, principal, bound, bound.sources, now)
        looked: _Looked | None = None
        if not asking.sources.rows and (known := self.reader.known_now()) is not None:
            looked = self._look(asking, known.successes)
            if looked.reply is not None:
                return looked.reply
        return self._later(request, admission, lambda: self._found(asking, looked))

    def _later(self, request: Request, admission: Admission, work: Callable[[], Reply]) -> Step:
        return lambda: admitted(request, lambda: admission, lambda _: work())

    def _found(self, asking: "_Asking", looked: "_Looked | None") -> Reply:
        """Read the answer, unless it is kept by now."""
        if looked is None and not asking.sources.rows:
            looked = self._look(asking, self.reader.known().successes)
        if looked is not None and looked.reply is not None:
            return looked.reply
        return self._read(asking, looked)

    def _look(self, asking: "_Asking", successes: Successes) -> "_Looked":
        """Look whether the client has the answer, or it is kept."""
        tag, reply = self._tag(asking, successes), None
        if tag is None:
            return _Looked(successes, None, None)
        if (header := asking.request.headers.get("if-none-match")) is not None and matches(tag, header):
            reply = Reply(304, b"", headers=self._kept(tag, asking, successes))
        else:
            stale = any_stale(asking.sources.views, successes, self.timing, asking.now)
            kept = self.cache.get(Key.of(asking.principal, tag), stale=stale)
            reply = None if kept is None else self._reply(asking, kept)
        return _Looked(successes, tag, reply)

    def _read(self, asking: "_Asking", looked: "_Looked | None") -> Reply:
        """Read an answer, one at a time of those with the same key, and keep it."""
        tag = None if looked is None else looked.tag
        with self.queries.slot(asking.principal, asking.request.address):
            if asking.question.csv:
                return self._csv(asking)
            if tag is None:
                answer = self._made(asking, looked)
            else:
                answer = self.cache.once(Key.of(asking.principal, tag), lambda: self._made(asking, looked))
        return self._reply(asking, answer)

    def _made(self, asking: "_Asking", looked: "_Looked | None") -> Answer:
        route = asking.route
        beside = self._beside(route, asking.principal, asking.now)
        stored = self._stored(asking)
        with _refusing():
            reading = self.reader.read(asking.admitted, asking.question.page, beside, stored=stored)
        rows, successes = reading.page.rows, reading.known.successes
        if route.endpoint.shape == "object" and len(rows) != 1:
            raise _nothing()
        stale = any_stale(asking.sources.views, successes, self.timing, asking.now)
        body = as_body(document(route, asking.question, reading, asking.now, stale=stale))
        same = looked is not None and looked.successes == successes
        tag = looked.tag if looked is not None and same else self._tag(asking, successes)
        answer = Answer(body, len(rows), successes, tag, stale, reading.page.total)
        return self._keep(asking, answer)

    def _keep(self, asking: "_Asking", answer: Answer) -> Answer:
        if answer.tag is None or not self.cache.takes(answer):
            return answer
        key = Key.of(asking.principal, answer.tag)
        # once, not for each client that asks for it
        kept = replace(answer, packed=packed(answer.body))
        self.cache.put(key, kept)
        return kept

    def _reply(self, asking: "_Asking", answer: Answer) -> Reply:
        headers = {**self._kept(answer.tag, asking, answer.successes), **answer.headers}
        if asking.route.endpoint.shape == "list" and not asking.question.csv:
            link = links(asking.request.path, asking.request.items, answer.total or 0, asking.question)
            headers |= {"Link": link} if link else {}
        if answer.packed is None or not asking.request.unpacks:
            return Reply(200, answer.body, answer.content_type, headers, rows=answer.rows)
        return Reply(200, answer.packed, answer.content_type, {**headers, **PACKED}, rows=answer.rows)

    def _csv(self, asking: "_Asking") -> Reply:
        route = asking.route
        names = [field.name for field in route.endpoint.fields]
        spool, count = Spool(), 0

        def take(rows: Iterator[Row]) -> None:
            nonlocal spool, count
            spool.close()
            spool = Spool()
            count = spool.write(names, rows, route.query.note)

        try:
            with _refusing():
                successes = self.reader.export(asking.admitted, asking.question.page, take, stored=self._stored(asking))
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
        answer = Answer(body, count, successes, tag, stale, content_type=CSV, headers=_attached(route))
        return self._reply(asking, self._keep(asking, answer))

    def _file(self, route: Route, spool: Spool, count: int, headers: dict[str, str]) -> Reply:
        return Reply(
            200, b"", CSV, headers | _attached(route) | {"Content-Length": str(spool.size)}, rows=count, spool=spool
        )

    def _bound(self, route: Route, question: Asked, principal: Principal, now: datetime) -> BoundQuery:
        organizations = principal.organizations
        if organizations is not None and not route.query.organizations:
            raise Problem(403, "forbidden", "this answer tells of every organization, and this key is not for all")
        with _refusing():
            return bind(route.query, question.given, organizations, now, SCHEMA, question.filters, self.settings)

    def _beside(self, route: Route, principal: Principal, now: datetime) -> BoundQuery | None:
        """Return the query whose row is added to the rows."""
        if route.summary is None:
            return None
        return bind(route.summary, {}, principal.organizations, now, SCHEMA, settings=self.settings)

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
        read = {view: at for view, at in successes.items() if view in asking.sources.views}
        left = self.timing.seconds_left(read, asking.now)
        return {"Cache-Control": f"private, max-age={left}", "ETag": tag, "Vary": _VARY}

    def _status(self, route: Route, question: Asked, principal: Principal, now: datetime) -> Reply:
        sizes = None
        if principal.organizations is None:
            sizes = Admitted(self._bound(route, question, principal, now), None)
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

    @property
    def admitted(self) -> Admitted:
        """Return the query, whose transaction sees the organizations of who asks alone."""
        return Admitted(self.bound, self.principal.organizations)


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was found in memory by the views' last successes: the answer's tag, and the reply if it is there."""

    successes: Successes
    tag: str | None
    reply: Reply | None


@contextmanager
def _refusing() -> Iterator[None]:
    """Tell the caller what the catalogue refuses."""
    try:
        yield
    except ParameterError as error:
        raise not_usable(error) from None


def _asks_as(route: Route, request: Request) -> tuple[Mapping[str, str], str | None, str, int]:
    """Return by what a request is admitted."""
    return request.headers, request.item(ORGANIZATION), request.address, route.endpoint.cost


def _attached(route: Route) -> dict[str, str]:
    name = "-".join(part for part in route.name.split("/") if "{" not in part)
    return {"Content-Disposition": f'attachment; filename="{name}.csv"'}


def _nothing() -> Problem:
    return Problem(404, "not_found", "there is nothing of that name that this key may see")
