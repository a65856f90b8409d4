"""What happens to the functions in the application's schema: create, replace, or refuse."""

from collections.abc import Iterator
from dataclasses import replace

from psycopg import sql

from analytics_refreshd.core.names import STATUS_FUNCTION
from analytics_refreshd.postgres.migrate.steps import Draft
from analytics_refreshd.postgres.schema.acting import Step
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import CONTRACT_FUNCTIONS, FUNCTIONS, OUR_SCHEMA, verbatim
from analytics_refreshd.postgres.schema.installed import Function


def given_functions(draft: Draft) -> Iterator[Step]:
    """Functions go to the role that they are to act as, before anything else is done to them.

    Whoever owns a function decides what runs when others call it, so that it is the owner of our schema, if possible.
    """
    for (name, arguments), existing in draft.installed.found.functions.items():
        if FUNCTIONS.get(name) != arguments or existing.owner == (owner := _owner(draft, name)):
            continue
        names = _names(draft, name)
        commands = [command("own_function", **names, owner=sql.Identifier(owner))]
        if not draft.installed.actors[existing.owner].superuser:
            # as before, whoever owned it may call it
            commands.append(command("allow_calling", **names, role=sql.Identifier(existing.owner)))
        draft.need(existing)
        draft.creators.add(owner)
        yield Step(f"give function {draft.app}.{name} to {owner}", tuple(commands), role=draft.role)


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
    takes = existing is None or (draft.gives and draft.installed.actors[existing.owner].may_become)
    usual = draft.home if existing is None or takes else existing.owner
    if name == STATUS_FUNCTION or draft.definitions.server_version >= 170000:
        return usual
    owners = sorted({draft.owner_of(view) for view in draft.installed.found.views.values()})
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


def _stays_open(draft: Draft, name: str) -> bool:
    """Whether PUBLIC may call a function that we create: it is the contract's, and acts as nobody but its caller."""
    return name in CONTRACT_FUNCTIONS and not draft.definitions.is_definer(name)


def _create(draft: Draft, name: str, owner: str) -> Iterator[Step]:
    role = draft.actor(owner)
    draft.creators |= {role, owner}
    commands = [draft.definitions.create(name), draft.definitions.comments(name)]
    if not _stays_open(draft, name):
        commands.append(command("close_function", **_names(draft, name)))
    # a superuser replaces also what another role put there since we looked, and leaves it that role's
    if owner != role or draft.installed.actors[role].superuser:
        commands.append(command("own_function", **_names(draft, name), owner=sql.Identifier(owner)))
    if name not in CONTRACT_FUNCTIONS:
        commands += [verbatim(grant) for grant in draft.catalog.callers(name, FUNCTIONS[name])]
    yield Step(f"create function {draft.app}.{name}", tuple(commands), role=role)


def _replace(draft: Draft, found: Function, owner: str) -> Iterator[Step]:
    expected = draft.installed.expected
    if expected is None:
        return
    name, names, role = found.name, _names(draft, found.name), draft.actor(owner)
    ours = expected.functions[(name, found.arguments)]
    commands = []
    if found.signature != ours.signature:
        commands += _drop(draft, found)
    if found.signature != ours.signature or found.body != ours.body:
        draft.creators.add(role)
        commands.append(draft.definitions.create(name))
    if commands or not found.commented:
        commands.append(draft.definitions.comments(name))
    # a function that comes to act as the views' owner must not stay open to everyone; the status only reads
    closes = ours.definer and not found.definer and found.public_may_call and name != STATUS_FUNCTION
    if closes:
        draft.warnings.append(
            f"{draft.app}.{name} now acts as the views' owner, so PUBLIC may not call it any more: grant EXECUTE to "
            "the roles that should"
        )
    helper_is_open = name not in CONTRACT_FUNCTIONS and found.public_may_call
    if closes or helper_is_open or (found.signature != ours.signature and not found.public_may_call):
        commands.append(command("close_function", **names))
    if owner != role:
        commands.append(command("own_function", **names, owner=sql.Identifier(owner)))
    if found.signature != ours.signature:
        commands += [verbatim(grant) for grant in draft.catalog.function_grants(name, found.arguments)]
    if helper_is_open:
        commands += [verbatim(grant) for grant in draft.catalog.callers(name, found.arguments)]
    if commands:
        draft.need(found)
        verb = "replace" if found.body != ours.body else "fix"
        yield Step(f"{verb} function {draft.app}.{name}", tuple(commands), role=role)


def closed_functions(draft: Draft) -> Iterator[Step]:
    """In incremental mode, whose functions an installation renews, PUBLIC may not call the helper either."""
    for (name, arguments), found in draft.installed.found.functions.items():
        if FUNCTIONS.get(name) == arguments and name not in CONTRACT_FUNCTIONS and found.public_may_call:
            draft.need(found)
            grants = [verbatim(grant) for grant in draft.catalog.callers(name, arguments)]
            commands = (command("close_function", **_names(draft, name)), *grants)
            role = draft.actor(_owner(draft, name))
            yield Step(f"close function {draft.app}.{name} to PUBLIC", commands, role=role)


def standalone_steps(draft: Draft) -> Iterator[Step]:
    """Steps that make the functions name nothing of our schema, which whoever may create one could put in its place."""
    definitions = replace(draft.definitions, standalone=True)
    for (name, arguments), found in draft.installed.found.functions.items():
        if FUNCTIONS.get(name) == arguments and f"{OUR_SCHEMA}." in found.body:
            draft.need(found)
            role = draft.actor(found.owner)
            draft.creators.add(role)
            yield Step(f"free function {draft.app}.{name} of {OUR_SCHEMA}", (definitions.create(name),), role=role)


def _drop(draft: Draft, found: Function) -> list[sql.Composed]:
    dependents = draft.catalog.function_dependents(found.name, found.arguments)
    if dependents:
        draft.obstacles.append(
            f"{draft.app}.{found.name}({found.arguments}) has other result columns and cannot be replaced while others "
            f"depend on it ({', '.join(dependents)}): drop these, run migrate again, then create them again"
        )
    return [command("drop_function", **_names(draft, found.name))]
