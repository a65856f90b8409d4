"""Which answers may be given again: their tags, and the headers that say for how long."""

from dataclasses import dataclass, replace
from datetime import datetime

from analytics_refreshd.api.access.principal import Principal
from analytics_refreshd.api.asking import Asked
from analytics_refreshd.api.cache import Answer, Key
from analytics_refreshd.api.engine import Admitted, AnswerReader
from analytics_refreshd.api.exchange import Reply, Request
from analytics_refreshd.api.freshness import Known, Timing, entity_tag
from analytics_refreshd.api.routes import Route
from analytics_refreshd.postgres.catalogue.run import BoundQuery
from analytics_refreshd.postgres.catalogue.sources import Sources

VARY = "Accept, Accept-Encoding, Authorization, X-API-Key, X-Organization-ID"
NOT_KEPT = "private, no-cache"


@dataclass(frozen=True, slots=True)
class Asking:
    """One request as it is understood, and who reads its answer."""

    route: Route
    request: Request
    question: Asked
    principal: Principal
    bound: BoundQuery
    sources: Sources
    now: datetime
    reader: AnswerReader

    @property
    def admitted(self) -> Admitted:
        """Return the query, whose statements see the organizations of who asks alone."""
        return Admitted(self.bound, self.principal.organizations)

    def of(self, reader: AnswerReader) -> "Asking":
        """Return the same request, answered by another."""
        return replace(self, reader=reader, sources=reader.sources(self.bound))


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in memory by what is known: the answer's tag, and the reply if it is there.

    `kept` is the answer that the cache gave for it.
    """

    known: Known
    tag: str | None
    reply: Reply | None
    kept: tuple[Key, Answer] | None = None


def tag_of(asking: Asking, known: Known, timing: Timing, *, stored: bool) -> str | None:
    """Return the ETag of an answer; None: it cannot be told from another one."""
    bound, question = asking.bound, asking.question
    if asking.sources.rows or known.mark is None:
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
    # in a warehouse of a quiet database no batch tells that time went on
    marks = [known.engine, known.mark, timing.next_slot(asking.now)] if known.mark else []
    return entity_tag(
        asking.sources.views, known.successes, [*asks, bound.values.get("organizations"), stored, *times, *marks]
    )


def headers_of(tag: str | None, asking: Asking, known: Known, timing: Timing) -> dict[str, str]:
    """Return the headers by which an answer may be kept."""
    if tag is None:
        return {"Cache-Control": NOT_KEPT, "Vary": VARY}
    read = {view: at for view, at in known.successes.items() if view in asking.sources.views}
    left = timing.seconds_left(read, asking.now)
    return {"Cache-Control": f"private, max-age={left}", "ETag": tag, "Vary": VARY}
