"""Answers requests to the endpoints of the catalogue."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from analytics_refreshd.api.access.limits import ConcurrentQueries
from analytics_refreshd.api.access.principal import AccessDenied, Admission, Gate, Principal
from analytics_refreshd.api.answers import document, links
from analytics_refreshd.api.asking import Asked, asked, not_usable
from analytics_refreshd.api.exchange import Reply, Request, as_json, of_problem
from analytics_refreshd.api.freshness import Timing, entity_tag, matches
from analytics_refreshd.api.problems import Problem, internal_error, invalid, of_denial, of_fault
from analytics_refreshd.api.reader import Reader
from analytics_refreshd.api.routes import FRESHNESS, ORGANIZATION, SCHEMA, Route
from analytics_refreshd.api.spool import MEDIA_TYPE as CSV
from analytics_refreshd.api.spool import MOST_BYTES, Spool, TooLargeError
from analytics_refreshd.api.status import read_status, status_document
from analytics_refreshd.core.access import READ_STORED
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.postgres.catalogue.run import BoundQuery, Row, bind
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
    stored_errors: bool = False

    def answer(self, route: Route, request: Request) -> Reply:
        """Return the answer, or the problem document that stands for it. Never raises."""
        admission: Admission | None = None
        try:
            organization = request.item(ORGANIZATION)
            admission = self.gate.admit(request.headers, organization, request.address, route.endpoint.cost)
            reply = self._answer(route, request, admission.principal)
        except AccessDenied as denial:
            reply = of_problem(of_denial(denial), request.request_id)
        except Problem as problem:
            reply = of_problem(problem, request.request_id)
        except DatabaseFault as fault:
            reply = of_problem(of_fault(fault), request.request_id)
            reply.exception = fault
        except Exception as error:
            reply = of_problem(internal_error(), request.request_id)
            reply.exception = error
        if admission is not None:
            reply.key_id = admission.principal.key_id
            reply.headers = {**reply.headers, **admission.headers}
        return reply

    def _answer(self, route: Route, request: Request, principal: Principal) -> Reply:
        question = asked(route, request.items, request.places, request.headers.get("accept", ""))
        now = self.clock.now()
        if route.query.name == FRESHNESS:
            return self._status(route, question, principal, now)
        bound = self._bound(route, question, principal, now)
        stored = self.stored_errors and principal.role in READ_STORED
        if (header := request.headers.get("if-none-match")) is not None:
            successes = self.reader.successes()
            tag = self._tag(route, question, bound, successes, stored)
            if tag is not None and matches(tag, header):
                return Reply(304, b"", headers=self._kept(tag, bound, successes, now))
        if question.csv:
            with self.queries.slot(principal, request.address):
                return self._csv(route, question, bound, now, stored)
        beside = self._beside(route, principal, now)
        with self.queries.slot(principal, request.address):
            reading = self.reader.read(bound, question.page, beside, stored=stored)
        rows = reading.page.rows
        if route.endpoint.shape == "object" and len(rows) != 1:
            raise _nothing()
        tag = self._tag(route, question, bound, reading.successes, stored)
        body = document(route, question, bound, reading, self.timing, now)
        headers = self._kept(tag, bound, reading.successes, now)
        if route.endpoint.shape == "list":
            link = links(request.path, request.items, reading.page.total, question)
            headers |= {"Link": link} if link else {}
        return Reply(200, as_json(body), headers=headers, rows=len(rows))

    def _csv(self, route: Route, question: Asked, bound: BoundQuery, now: datetime, stored: bool) -> Reply:
        names = [field.name for field in route.endpoint.fields]
        spool, count = Spool(), 0

        def take(rows: Iterator[Row]) -> None:
            nonlocal spool, count
            spool.close()
            spool = Spool()
            count = spool.write(names, rows)

        try:
            successes = self.reader.export(bound, question.page, take, stored=stored)
        except TooLargeError:
            spool.close()
            raise invalid(f"the rows are over {MOST_BYTES >> 20} MiB: ask for less, or page by page") from None
        except BaseException:
            spool.close()
            raise
        if route.endpoint.shape == "object" and count != 1:
            spool.close()
            raise _nothing()
        tag = self._tag(route, question, bound, successes, stored)
        return self._file(route, spool, count, self._kept(tag, bound, successes, now))

    def _file(self, route: Route, spool: Spool, count: int, headers: dict[str, str]) -> Reply:
        name = "-".join(part for part in route.name.split("/") if "{" not in part)
        headers |= {"Content-Disposition": f'attachment; filename="{name}.csv"', "Content-Length": str(spool.size)}
        return Reply(200, b"", CSV, headers, rows=count, spool=spool)

    def _bound(self, route: Route, question: Asked, principal: Principal, now: datetime) -> BoundQuery:
        organizations = principal.organizations
        if organizations is not None and not route.query.organizations:
            raise Problem(403, "forbidden", "this answer tells of every organization, and this key is not for all")
        try:
            bound = bind(route.query, question.given, organizations, now, SCHEMA, question.filters)
        except ParameterError as error:
            raise not_usable(error) from None
        return self._admitting(bound, organizations)

    def _admitting(self, bound: BoundQuery, organizations: Sequence[str] | None) -> BoundQuery:
        """Return the query so that its transaction is admitted to the organizations alone."""
        return replace(bound, admit=lambda connection: self.wall.admit(connection, organizations))

    def _beside(self, route: Route, principal: Principal, now: datetime) -> BoundQuery | None:
        """Return the query whose row is added to the rows."""
        if route.summary is None:
            return None
        return bind(route.summary, {}, principal.organizations, now, SCHEMA)

    def _tag(
        self, route: Route, question: Asked, bound: BoundQuery, successes: Mapping[str, datetime], stored: bool
    ) -> str | None:
        sources = bound.sources
        if sources.rows:
            return None
        window = bound.query.window
        steps = window is not None and window.step is not None
        times = [bound.values["since"], bound.values["until"]] if steps else []
        asks = [
            route.name,
            question.csv,
            dict(question.parameters),
            question.page.limit,
            question.page.offset,
            question.page.order,
        ]
        return entity_tag(sources.views, successes, [*asks, bound.values.get("organizations"), stored, *times])

    def _kept(
        self, tag: str | None, bound: BoundQuery, successes: Mapping[str, datetime], now: datetime
    ) -> dict[str, str]:
        """Return the headers by which an answer may be kept."""
        if tag is None:
            return {"Cache-Control": _NOT_KEPT, "Vary": _VARY}
        read = [at for view, at in successes.items() if view in bound.sources.views]
        left = self.timing.seconds_left(read, now)
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


def _nothing() -> Problem:
    return Problem(404, "not_found", "there is nothing of that name that this key may see")
