"""What happens to the functions in the application's schema: create, replace, or refuse."""

from collections.abc import Iterator

from psycopg import sql

from analytics_refreshd.postgres.migrate.steps import Draft, Step
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import FUNCTIONS, verbatim
from analytics_refreshd.postgres.schema.installed import Function

_STATUS = "get_analytics_refresh_status"


def function_steps(draft: Draft) -> Iterator[Step]:
    """Steps for the functions that are missing or not ours."""
    found = draft.installed.found.functions
    for name, arguments in FUNCTIONS.items():
        draft.warnings += [
            f"{draft.app}.{name}({other}) has the name of a function of ours: a call may be ambiguous"
            for other_name, other in found
            if other_name == name and other != arguments
        ]
        existing = found.get((name, arguments))
        owner = _owner(draft, name)
        draft.owners.add(owner)
        yield from _create(draft, name, owner) if existing is None else _replace(draft, existing, owner)


def _owner(draft: Draft, name: str) -> str:
    """Who is to own a function: before PostgreSQL 17 the views' owner, who alone can refresh."""
    existing = draft.installed.found.functions.get((name, FUNCTIONS[name]))
    usual = existing.owner if existing else draft.role
    if name == _STATUS or draft.definitions.server_version >= 170000:
        return usual
    owners = sorted({view.owner for view in draft.installed.found.views.values()})
    if len(owners) > 1:
        warning = (
            f"the views have several owners ({', '.join(owners)}): before PostgreSQL 17 one function cannot refresh "
            "them all; give them one owner"
        )
        if warning not in draft.warnings:
            draft.warnings.append(warning)
    return owners[0] if owners else usual


def _names(draft: Draft, name: str) -> dict[str, sql.Composable]:
    signature = sql.Composed([sql.Identifier(name), verbatim(f"({FUNCTIONS[name]})")])
    return {"app": sql.Identifier(draft.app), "function": signature}


def _is_definer(draft: Draft, name: str) -> bool:
    return name == _STATUS or draft.definitions.server_version < 170000


def _create(draft: Draft, name: str, owner: str) -> Iterator[Step]:
    draft.creates_in_app = True
    commands = [draft.definitions.create(name), draft.definitions.comments(name)]
    if _is_definer(draft, name):
        commands.append(command("close_function", **_names(draft, name)))
    if owner != draft.role:
        commands.append(command("own_function", **_names(draft, name), owner=sql.Identifier(owner)))
    yield Step(f"create function {draft.app}.{name}", tuple(commands))


def _replace(draft: Draft, found: Function, owner: str) -> Iterator[Step]:
    expected = draft.installed.expected
    if expected is None:
        return
    name, names = found.name, _names(draft, found.name)
    ours = expected.functions[(name, found.arguments)]
    commands = []
    if found.signature != ours.signature:
        commands += _drop(draft, found)
    if found.signature != ours.signature or found.body != ours.body:
        draft.creates_in_app = True
        commands.append(draft.definitions.create(name))
    if commands or not found.commented:
        commands.append(draft.definitions.comments(name))
    # a function that comes to act as the views' owner must not stay open to everyone; the status only reads
    closes = ours.definer and not found.definer and found.public_may_call and name != _STATUS
    if closes:
        draft.warnings.append(
            f"{draft.app}.{name} now acts as the views' owner, so PUBLIC may not call it any more: grant EXECUTE to "
            "the roles that should"
        )
    if closes or (found.signature != ours.signature and not found.public_may_call):
        commands.append(command("close_function", **names))
    if owner != (draft.role if found.signature != ours.signature else found.owner):
        commands.append(command("own_function", **names, owner=sql.Identifier(owner)))
    if found.signature != ours.signature:
        commands += [verbatim(grant) for grant in draft.catalog.function_grants(name, found.arguments)]
    if commands:
        draft.need(found)
        verb = "replace" if found.body != ours.body else "mend"
        yield Step(f"{verb} function {draft.app}.{name}", tuple(commands))


def _drop(draft: Draft, found: Function) -> list[sql.Composed]:
    dependents = draft.catalog.function_dependents(found.name, found.arguments)
    if dependents:
        draft.obstacles.append(
            f"{draft.app}.{found.name}({found.arguments}) has other result columns and cannot be replaced while others "
            f"depend on it ({', '.join(dependents)}): drop these, run migrate again, then create them again"
        )
    return [command("drop_function", **_names(draft, found.name))]
