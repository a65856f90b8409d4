"""What the OpenAPI document says of the questions that people keep."""

from collections.abc import Mapping
from typing import Any

from analytics_refreshd.api.actions.description import body_errors
from analytics_refreshd.api.problems import MEDIA_TYPE
from analytics_refreshd.api.questions.endpoint import LIMIT, QUESTION_PATH, QUESTIONS_PATH
from analytics_refreshd.core.questions import MOST_ADDRESS, MOST_NAME, MOST_QUESTIONS

Schema = dict[str, Any]
SECTION = "questions"
_WHOSE = f"An organization keeps at most {MOST_QUESTIONS}. Viewers open questions, and change none."
_CONFLICT = "The name is taken, or as many questions are kept as may be."


def question_paths(errors: Mapping[str, Schema], organization: Schema, offset: Schema) -> Schema:
    """Return the paths of questions. `organization` and `offset` are parameters as elsewhere."""
    listing = {code: response for code, response in errors.items() if code != "404"}
    conflict = {"409": {"description": _CONFLICT, "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}}
    changing = {**errors, **body_errors(), **conflict}
    limit = {
        "name": LIMIT.name,
        "in": "query",
        "required": False,
        "description": LIMIT.meaning,
        "schema": {"type": "integer", "minimum": LIMIT.minimum, "maximum": LIMIT.maximum, "default": LIMIT.default},
    }
    place = {
        "name": "question_id",
        "in": "path",
        "required": True,
        "description": "As in the list",
        "schema": {"type": "string", "format": "uuid"},
    }
    body = {"required": True, "content": {"application/json": {"schema": _wanted()}}}
    return {
        QUESTIONS_PATH: {
            "get": {
                **_named("questions", "Which questions are kept, by name?"),
                "parameters": [limit, offset, organization],
                "responses": {
                    "200": {"description": "The questions.", "content": _content("KeptQuestionsAnswer")},
                    **listing,
                },
            },
            "post": {
                **_named("keep_question", "Keep a question: an address of the pages, with a name.", _WHOSE),
                "parameters": [organization],
                "requestBody": body,
                "responses": {
                    "201": {"description": "Kept.", "headers": _location(), "content": _content()},
                    **changing,
                },
            },
        },
        QUESTION_PATH: {
            "get": {
                **_named("question", "Which question has this id?"),
                "parameters": [place, organization],
                "responses": {"200": {"description": "The question.", "content": _content()}, **errors},
            },
            "put": {
                **_named("replace_question", "Give a question another name and address.", _WHOSE),
                "parameters": [place, organization],
                "requestBody": body,
                "responses": {"200": {"description": "Replaced.", "content": _content()}, **changing},
            },
            "delete": {
                **_named("remove_question", "Remove a question.", _WHOSE),
                "parameters": [place, organization],
                "responses": {"204": {"description": "Removed."}, **errors},
            },
        },
    }


def _named(identity: str, summary: str, description: str | None = None) -> Schema:
    more = {"description": description} if description else {}
    return {"operationId": identity, "tags": [SECTION], "summary": summary, **more}


def _wanted() -> Schema:
    properties = {
        "name": {
            "type": "string",
            "minLength": 1,
            "maxLength": MOST_NAME,
            "pattern": r"^[^\u0000-\u001f]*\S[^\u0000-\u001f]*$",
            "description": "What people call it; another one of its organization has another name",
            "examples": ["Failures of the week"],
        },
        "address": {
            "type": "string",
            "maxLength": MOST_ADDRESS,
            "pattern": r"^\?[!-~]+$",
            "description": "What stands after the path of a page. Never a key",
            "examples": ["?page=failures&range=7d"],
        },
    }
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}


def _question() -> Schema:
    data = {
        "question_id": {"type": "string", "format": "uuid", "description": "The question"},
        "organization_id": {"type": ["string", "null"], "description": "Whose it is; null: of those who see all"},
        "name": {"type": "string", "description": "What people call it"},
        "address": {"type": "string", "description": "What the pages show: the query of their address"},
        "kept_at": {"type": "string", "format": "date-time", "description": "When it was kept or replaced"},
    }
    return {"type": "object", "required": list(data), "properties": data}


def question_schemas() -> Schema:
    """Return the schemas of what the questions' paths answer."""
    return {
        "KeptQuestion": _question(),
        "KeptQuestionAnswer": _answer({"data": _ref("KeptQuestion")}),
        "KeptQuestionsAnswer": _answer(
            {"data": {"type": "array", "items": _ref("KeptQuestion")}, "pagination": _ref("Pagination")}
        ),
    }


def _answer(members: Schema) -> Schema:
    meta = {"generated_at": {"type": "string", "format": "date-time"}}
    properties = {**members, "meta": {"type": "object", "required": list(meta), "properties": meta}}
    return {"type": "object", "required": list(properties), "properties": properties}


def _content(name: str = "KeptQuestionAnswer") -> Schema:
    return {"application/json": {"schema": _ref(name)}}


def _location() -> Schema:
    return {"Location": {"schema": {"type": "string"}, "description": "The question."}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
