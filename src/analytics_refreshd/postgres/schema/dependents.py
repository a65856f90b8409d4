"""What hangs on the four views, and how it survives that they are replaced."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from analytics_refreshd.postgres.connection import Connection, sqlfiles
from analytics_refreshd.postgres.schema.acting import Acting, Step
from analytics_refreshd.postgres.schema.definitions import compose, verbatim

_LENT = {"CREATE": sql.SQL("create"), "USAGE": sql.SQL("usage")}


@dataclass(frozen=True, slots=True)
class Dependent:
    """An object that would go with a view, and the commands that drop it and create it again as it was.

    `lacking` are the rights on its schema that its owner needs for that and does not have.
    """

    described: str
    owner: str
    schema: str
    lacking: list[str]
    keepable: bool
    drops: str
    creates: str
    finishes: list[str]
    fills: str


def dependents(connection: Connection, app_schema: str, names: Sequence[str]) -> list[Dependent]:
    """Return what hangs on the views `names`, directly or not, the farthest first."""
    text = sqlfiles.blocks("schema/dependents.sql")["dependents"]
    with connection.cursor(row_factory=class_row(Dependent)) as cursor:
        return cursor.execute(text, {"schema": app_schema, "names": list(names)}).fetchall()


def in_words(found: Sequence[Dependent]) -> str:
    """Name the objects, the nearest first."""
    return ", ".join(one.described for one in reversed(found))


def obstacles(acting: Acting, found: Sequence[Dependent]) -> list[str]:
    """Return why some of them could not be created again, one sentence each."""
    lost = [one.described for one in found if not one.keepable]
    problems = []
    if lost:
        problems.append(
            f"what depends on the views cannot all be created again as it is ({', '.join(lost)}): drop these, run this "
            "again, then create them again"
        )
    actors = acting.catalog.actors({one.owner for one in found if one.keepable})
    problems += [
        f"role {acting.role} may not act as {one.owner}, who owns {one.described}: run this as a superuser"
        for one in found
        if one.keepable and not actors[one.owner].may_become
    ]
    return problems


def dropping(acting: Acting, found: Sequence[Dependent]) -> list[Step]:
    """Return the steps that drop them, the farthest first.

    A reader locks a view before what that reads: in this order nobody waits for a lock that waits for theirs.
    """
    return [
        Step(f"drop {one.described}", (verbatim(one.drops),), role=acting.role if _is_superuser(acting) else one.owner)
        for one in found
    ]


def creating(acting: Acting, found: Sequence[Dependent]) -> list[Step]:
    """Return the steps that create them again, as their owners, the nearest first."""
    unchecked = verbatim(sqlfiles.blocks("schema/dependents.sql")["bodies_as_they_are"])
    steps = []
    for one in reversed(found):
        commands = tuple(verbatim(text) for text in (one.creates, *one.finishes, *([one.fills] if one.fills else [])))
        create = Step(f"create {one.described} again", (unchecked, *commands), role=one.owner)
        steps += [*_lending(acting, one, "lend"), create, *_lending(acting, one, "end_lending")]
    return steps


def _lending(acting: Acting, one: Dependent, name: str) -> list[Step]:
    """Give the owner for this transaction what it lacks on the schema, or take it back."""
    if not one.lacking:
        return []
    text = sqlfiles.blocks("schema/dependents.sql")[name]
    names = {"schema": sql.Identifier(one.schema), "role": sql.Identifier(one.owner)}
    lent = compose(text, privileges=sql.SQL(", ").join(_LENT[privilege] for privilege in one.lacking), **names)
    verb = "lend" if name == "lend" else "end the lending of"
    return [Step(f"{verb} rights on schema {one.schema} to {one.owner}", (lent,), role=acting.role)]


def _is_superuser(acting: Acting) -> bool:
    return acting.catalog.actors([acting.role])[acting.role].superuser
