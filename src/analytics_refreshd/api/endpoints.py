"""Answers requests to the endpoints of the catalogue."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from analytics_refreshd.api.access.gate import AccessGate
from analytics_refreshd.api.access.limits import ConcurrentQueries
from analytics_refreshd.api.access.principal import Admission, Principal
from analytics_refreshd.api.answers import as_body, document, links
from analytics_refreshd.api.asking import Asked, asked, not_usable
from analytics_refreshd.api.cache import LARGEST_BYTES, Answer, AnswerCache, Key, reply_of
from analytics_refreshd.api.engine import Admitted, NotAnsweredHereError, WarehouseReaders
from analytics_refreshd.api.exchange import Reply, Request, Step, admitted, as_json, of_error, packed, told
from analytics_refreshd.api.freshness import Known, Timing, any_stale, matches
from analytics_refreshd.api.keeping import NOT_KEPT, VARY, Asking, Looked, headers_of, tag_of
from analytics_refreshd.api.problems import Problem, invalid
from analytics_refreshd.api.reader import Reader
from analytics_refreshd.api.repeats import Repeat, Repeats, asks_of
from analytics_refreshd.api.routes import FRESHNESS, ORGANIZATION, SCHEMA, Route
from analytics_refreshd.api.spool import MEDIA_TYPE as CSV
from analytics_refreshd.api.spool import MOST_BYTES, Spool, TooLargeError
from analytics_refreshd.api.status import read_status, status_document
from analytics_refreshd.core.access import READ_STORED
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row, bind
from analytics_refreshd.postgres.catalogue.settings import DEFAULTS, QuerySettings
from analytics_refreshd.postgres.catalogue.spans import ParameterError


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Answers what the gate admits.

    With `stored_errors` owners and admins read error texts as they are stored. `settings` hold prices and
    thresholds. What the `warehouse` answers exactly it answers.
    """

    gate: AccessGate
    reader: Reader
    timing: Timing
    clock: Clock
    queries: ConcurrentQueries
    cache: AnswerCache
    stored_errors: bool = False
    settings: QuerySettings = DEFAULTS
    warehouse: WarehouseReaders | None = None
    repeats: Repeats = field(default_factory=Repeats)

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
        principal, now = admission.principal, self.clock.now()
        asks = asks_of(route, request, principal)
        reply = self.repeats.reply(asks, request, now, self.cache)
        if reply is not None:
            return reply
        question = asked(route, request.items, request.places, request.headers.get("accept", ""))
        if route.query.name == FRESHNESS:
            return self._later(request, admission, lambda: self._status(route, question, principal, now))
        bound = self._bound(route, question, principal, now)
        asking = Asking(route, request, question, principal, bound, bound.sources, now, self.reader)
        asking = self._routed(asking)
        looked: Looked | None = None
        if not asking.sources.rows and (known := asking.reader.known_now()) is not None:
            looked = self._look(asking, known)
            if looked.reply is not None:
                self.repeats.note(asks, now, Repeat.of(asking.reader, looked, looked.reply))
                return looked.reply
        return self._later(request, admission, lambda: self._found(asking, looked))

    def _later(self, request: Request, admission: Admission, work: Callable[[], Reply]) -> Step:
        return lambda: admitted(request, lambda: admission, lambda _: work())

    def _found(self, asking: Asking, looked: Looked | None) -> Reply:
        """Read the answer, unless it is kept by now."""
        if looked is None and not asking.sources.rows:
            looked = self._look(asking, asking.reader.known())
        if looked is not None and looked.reply is not None:
            return looked.reply
        try:
            return self._read(asking, looked)
        except NotAnsweredHereError as refusal:
            return self._found(self._by_postgres(asking, str(refusal)), None)

    def _routed(self, asking: Asking) -> Asking:
        """Return the request with who answers it: the warehouse, where it can. Raises Problem."""
        fleet = asking.question.fleet
        if fleet and asking.principal.organizations is not None:
            raise Problem(403, "forbidden", "a fleet tells of every organization, and this key is not for all")
        if self.warehouse is None:
            return asking
        refusal = self.warehouse.refusal(asking.bound, fleet)
        if refusal is not None:
            return self._by_postgres(asking, refusal)
        return asking.of(self.warehouse.fleet if fleet else self.warehouse.own)

    def _by_postgres(self, asking: Asking, refusal: str) -> Asking:
        """Return the request for PostgreSQL, which knows no fleet. Raises Problem."""
        if asking.question.fleet:
            raise invalid(f"a fleet cannot be asked this: {refusal}", parameter="fleet")
        return asking.of(self.reader)

    def _look(self, asking: Asking, known: Known) -> Looked:
        """Look whether the client has the answer, or it is kept."""
        tag = self._tag(asking, known)
        if tag is None:
            return Looked(known, None, None)
        if (header := asking.request.headers.get("if-none-match")) is not None and matches(tag, header):
            return Looked(known, tag, Reply(304, b"", headers=headers_of(tag, asking, known, self.timing)))
        stale = any_stale(asking.sources.views, known.successes, self.timing, asking.now)
        key = Key.of(asking.principal, tag)
        kept = self.cache.get(key, stale=stale)
        if kept is None:
            return Looked(known, tag, None)
        return Looked(known, tag, self._reply(asking, kept), (key, kept))

    def _read(self, asking: Asking, looked: Looked | None) -> Reply:
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

    def _made(self, asking: Asking, looked: Looked | None) -> Answer:
        route = asking.route
        beside = self._beside(route, asking.principal, asking.now)
        stored = self._stored(asking)
        with _refusing():
            reading = asking.reader.read(asking.admitted, asking.question.page, beside, stored=stored)
        rows, known = reading.page.rows, reading.known
        if route.endpoint.shape == "object" and len(rows) != 1:
            raise _nothing()
        sources = asking.reader.sources(reading.bound)
        stale = any_stale(asking.sources.views, known.successes, self.timing, asking.now)
        body = as_body(document(route, asking.question, reading, sources, asking.now, stale=stale))
        same = looked is not None and (looked.known.successes, looked.known.mark) == (known.successes, known.mark)
        tag = looked.tag if looked is not None and same else self._tag(asking, known)
        answer = Answer(body, len(rows), known, tag, stale, reading.page.total)
        return self._keep(asking, answer)

    def _keep(self, asking: Asking, answer: Answer) -> Answer:
        if answer.tag is None or not self.cache.takes(answer):
            return answer
        key = Key.of(asking.principal, answer.tag)
        # once, not for each client that asks for it
        kept = replace(answer, packed=packed(answer.body))
        self.cache.put(key, kept)
        return kept

    def _reply(self, asking: Asking, answer: Answer) -> Reply:
        headers = {**headers_of(answer.tag, asking, answer.known, self.timing), **answer.headers}
        if asking.route.endpoint.shape == "list" and not asking.question.csv:
            link = links(asking.request.path, asking.request.items, answer.total or 0, asking.question)
            headers |= {"Link": link} if link else {}
        return reply_of(answer, asking.request, headers)

    def _csv(self, asking: Asking) -> Reply:
        route = asking.route
        names = route.names(fleet=asking.question.fleet)
        spool, count = Spool(), 0

        def take(rows: Iterator[Row]) -> None:
            nonlocal spool, count
            spool.close()
            spool = Spool()
            count = spool.write(names, rows, route.query.note)

        try:
            with _refusing():
                known = asking.reader.export(asking.admitted, asking.question.page, take, stored=self._stored(asking))
        except TooLargeError:
            spool.close()
            raise invalid(f"the rows are over {MOST_BYTES >> 20} MiB: ask for less, or page by page") from None
        except BaseException:
            spool.close()
            raise
        if route.endpoint.shape == "object" and count != 1:
            spool.close()
            raise _nothing()
        tag = self._tag(asking, known)
        if tag is None or spool.size > LARGEST_BYTES:
            return self._file(route, spool, count, headers_of(tag, asking, known, self.timing))
        stale = any_stale(asking.sources.views, known.successes, self.timing, asking.now)
        body = b"".join(spool.pieces())
        answer = Answer(body, count, known, tag, stale, content_type=CSV, headers=_attached(route))
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

    def _stored(self, asking: Asking) -> bool:
        return self.stored_errors and asking.principal.role in READ_STORED

    def _tag(self, asking: Asking, known: Known) -> str | None:
        return tag_of(asking, known, self.timing, stored=self._stored(asking))

    def _status(self, route: Route, question: Asked, principal: Principal, now: datetime) -> Reply:
        sizes = None
        if principal.organizations is None:
            sizes = Admitted(self._bound(route, question, principal, now), None)
        found = read_status(self.reader, route, sizes)
        body = status_document(route, question, found, self.timing, now)
        headers = {"Cache-Control": NOT_KEPT, "Vary": VARY}
        rows = body["data"]
        assert isinstance(rows, list)  # noqa: S101 - the document's data are the views
        if question.csv:
            names, spool = [field.name for field in route.endpoint.fields], Spool()
            return self._file(route, spool, spool.write(names, (list(row.values()) for row in rows)), headers)
        return Reply(200, as_json(body), headers=headers, rows=len(rows))


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
