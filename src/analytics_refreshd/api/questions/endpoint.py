"""Lists the questions that people keep, and changes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from analytics_refreshd.api.access.principal import Admission, Gate, Principal
from analytics_refreshd.api.answers import links, moment, pagination
from analytics_refreshd.api.asking import Asked, checked
from analytics_refreshd.api.body import members_of, refuse_other_site, refuse_other_types
from analytics_refreshd.api.exchange import Reply, Request, admitted, as_json
from analytics_refreshd.api.problems import Problem, invalid, not_written, unknown_parameter
from analytics_refreshd.api.routes import OFFSET, ORGANIZATION
from analytics_refreshd.core.access import KEEP_QUESTIONS
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.ports import Clock
from analytics_refreshd.core.questions import (
    MOST_QUESTIONS,
    NameTakenError,
    NoRoomError,
    Question,
    QuestionError,
    QuestionText,
    UnknownOrganizationError,
    checked_address,
    checked_name,
    named_organization,
)
from analytics_refreshd.postgres.catalogue.page import Page
from analytics_refreshd.postgres.catalogue.parameters import Parameter

QUESTIONS_PATH = "/api/v1/questions"
QUESTION_PATH = f"{QUESTIONS_PATH}/{{question_id}}"
ENDPOINT = "questions"
"""The endpoint, for metrics and log."""
LIMIT = Parameter("limit", "integer", 20, 1, MOST_QUESTIONS, "Rows of a page")
_COST = 1
_UUID_LENGTH = 36
_NOT_KEPT = {"Cache-Control": "no-store"}
_MEMBERS = ("name", "address")
_EXAMPLE = '{"name": "Failures of the week", "address": "?page=failures&range=7d"}'
_Work = Callable[[Request, Principal], Reply]


class QuestionList(Protocol):
    """Where questions are read. `admitted` None is all organizations. Every method raises DatabaseFault."""

    def page(self, admitted: Sequence[str] | None, limit: int, offset: int) -> tuple[list[Question], int]:
        """Return questions by name, and how many there are."""

    def one(self, admitted: Sequence[str] | None, question_id: UUID) -> Question | None:
        """Return a question, None if there is none of this id."""


class QuestionBook(Protocol):
    """Where questions are changed. Every method raises DatabaseFault, the first two also QuestionError and others."""

    def keep(
        self, admitted: Sequence[str] | None, organization: str | None, text: QuestionText, kept_by: str
    ) -> Question:
        """Keep a question of `organization`, None for who sees all; return it."""

    def replace(
        self, admitted: Sequence[str] | None, question_id: UUID, text: QuestionText, kept_by: str
    ) -> Question | None:
        """Give a question another name and address; return it. None: there is none of this id."""

    def remove(self, admitted: Sequence[str] | None, question_id: UUID) -> bool:
        """Remove a question. False: there is none of this id."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Answers in the caller's thread, which may wait for the database. No method raises."""

    gate: Gate
    reader: QuestionList
    book: QuestionBook
    clock: Clock

    def every(self, request: Request) -> Reply:
        """List questions, or keep one."""
        if request.method == "POST":
            return self._changed(request, self._keep)
        return self._admitted(request, self._list, (ORGANIZATION, LIMIT.name, OFFSET.name))

    def one(self, request: Request) -> Reply:
        """Tell of a question, replace or remove it."""
        if request.method == "PUT":
            return self._changed(request, self._replace)
        if request.method == "DELETE":
            return self._changed(request, self._remove, body=False)
        return self._admitted(request, self._tell)

    def _list(self, request: Request, principal: Principal) -> Reply:
        limit, offset = (_whole(request, parameter) for parameter in (LIMIT, OFFSET))
        found, total = self.reader.page(principal.organizations, limit, offset)
        page = Asked({}, {}, Page(limit, offset), {})
        reply = self._reply(200, [_document(each) for each in found], pagination=pagination(total, len(found), page))
        if link := links(request.path, request.items, total, page):
            reply.headers["Link"] = link
        return reply

    def _tell(self, request: Request, principal: Principal) -> Reply:
        return self._found(self.reader.one(principal.organizations, _id(request)))

    def _keep(self, request: Request, principal: Principal) -> Reply:
        organization, text = _whose(principal), _text(request.body, principal)
        kept = self.book.keep(principal.organizations, organization, text, principal.key_id or "")
        reply = self._reply(201, _document(kept))
        reply.headers["Location"] = f"{QUESTIONS_PATH}/{kept.question_id}"
        return reply

    def _replace(self, request: Request, principal: Principal) -> Reply:
        question_id, text = _id(request), _text(request.body, principal)
        return self._found(self.book.replace(principal.organizations, question_id, text, principal.key_id or ""))

    def _remove(self, request: Request, principal: Principal) -> Reply:
        if not self.book.remove(principal.organizations, _id(request)):
            raise _nothing()
        return Reply(204, b"", headers=dict(_NOT_KEPT))

    def _changed(self, request: Request, change: _Work, *, body: bool = True) -> Reply:
        def check() -> None:
            refuse_other_site(request.headers)
            if body:
                refuse_other_types(request.headers)

        def work(request: Request, principal: Principal) -> Reply:
            if principal.role not in KEEP_QUESTIONS:
                roles = ", ".join(KEEP_QUESTIONS)
                raise Problem(403, "forbidden", f"a {principal.role} may open questions, not change them: {roles} may")
            try:
                return change(request, principal)
            except DatabaseFault as fault:
                raise not_written(fault) from fault
            except (QuestionError, NameTakenError, NoRoomError, UnknownOrganizationError) as error:
                # no failure, so nothing for the log
                raise _refused(error) from None

        return self._admitted(request, work, check=check)

    def _admitted(
        self,
        request: Request,
        work: _Work,
        known: Sequence[str] = (ORGANIZATION,),
        check: Callable[[], None] = lambda: None,
    ) -> Reply:
        def admit() -> Admission:
            check()
            return self.gate.admit(request.headers, request.item(ORGANIZATION), request.address, _COST)

        def answer(admission: Admission) -> Reply:
            for name, _ in request.items:
                if name not in known:
                    raise unknown_parameter(name, known)
            return work(request, admission.principal)

        return admitted(request, admit, answer)

    def _found(self, question: Question | None) -> Reply:
        if question is None:
            raise _nothing()
        return self._reply(200, _document(question))

    def _reply(self, status: int, data: object, **others: object) -> Reply:
        body = {"data": data, **others, "meta": {"generated_at": moment(self.clock.now())}}
        return Reply(status, as_json(body), headers=dict(_NOT_KEPT))


def _document(question: Question) -> dict[str, object]:
    return {
        "question_id": str(question.question_id),
        "organization_id": question.organization_id,
        "name": question.name,
        "address": question.address,
        "kept_at": moment(question.kept_at),
    }


def _whole(request: Request, parameter: Parameter) -> int:
    given = [value for name, value in request.items if name == parameter.name]
    if len(given) > 1:
        raise invalid(f"the parameter {parameter.name} is given twice", parameter=parameter.name)
    return int(checked(parameter, given[0]) if given else parameter.default)


def _text(body: bytes, principal: Principal) -> QuestionText:
    given = members_of(body, _MEMBERS, _EXAMPLE)
    name, address = given.get("name"), given.get("address")
    if not isinstance(name, str) or not isinstance(address, str):
        missing = "name" if not isinstance(name, str) else "address"
        raise invalid(f"{missing} must be a text: send {_EXAMPLE}", parameter=missing)
    text = QuestionText(checked_name(name), checked_address(address))
    organization = named_organization(text.address)
    if organization is not None and principal.organizations is not None:
        if organization not in principal.organizations:
            raise Problem(403, "forbidden", "address names an organization that this request is not for")
    return text


def _whose(principal: Principal) -> str | None:
    """Return the organization that keeps what this request is for; None: those who see all."""
    if principal.organizations is None:
        return None
    if len(principal.organizations) > 1:
        text = "name the organization that keeps it: X-Organization-ID or ?organization_id="
        raise Problem(400, "missing_organization", text)
    return principal.organizations[0]


def _id(request: Request) -> UUID:
    text = request.places["question_id"]
    try:
        if len(text) == _UUID_LENGTH:
            return UUID(text)
    except ValueError:
        pass
    raise _nothing()


def _nothing() -> Problem:
    return Problem(404, "not_found", "there is no question of this id that this key may see")


def _refused(error: ValueError) -> Problem:
    if isinstance(error, NameTakenError):
        return Problem(409, "conflict", "this name is taken: replace that question, or choose another name")
    if isinstance(error, NoRoomError):
        return Problem(409, "conflict", f"{MOST_QUESTIONS} questions are kept, which is the most: remove one")
    if isinstance(error, UnknownOrganizationError):
        return Problem(404, "not_found", "there is no organization of this id")
    return invalid(str(error))
