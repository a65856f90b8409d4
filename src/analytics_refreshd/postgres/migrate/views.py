"""What happens to the four views: create, keep, fix, or build again."""

from dataclasses import dataclass, field

from psycopg import sql

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.migrate.steps import Draft
from analytics_refreshd.postgres.schema.acting import Step
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, index_names, verbatim
from analytics_refreshd.postgres.schema.installed import Objects, View

_OTHER_COLUMNS = "its columns are not those of the contract"


@dataclass(slots=True)
class ViewSteps:
    """`first` disturbs nobody; `touches` locks existing views against refreshes; `swaps` against readers."""

    first: list[Step] = field(default_factory=list)
    touches: list[Step] = field(default_factory=list)
    swaps: list[Step] = field(default_factory=list)


def view_steps(draft: Draft, *, recreate: bool) -> ViewSteps:
    """The steps for the four views of a plain installation."""
    steps = ViewSteps()
    kept: list[str] = []
    for name in VIEWS:
        view = draft.installed.found.views.get(name)
        if view is None:
            draft.creators.add(draft.home)
            steps.first.append(Step(f"create view {draft.app}.{name}", tuple(draft.definitions.view(name))))
            steps.first.append(_populate(draft, name, draft.app, draft.home))
            continue
        draft.owners.add(draft.owner_of(view))
        expected = draft.installed.expected
        differences = differences_of(view, draft.installed.found, expected) if expected else []
        if differences and recreate:
            _rebuild(draft, view, steps)
        else:
            # our indexes and comments name columns that such a view may not have
            _mend(draft, view, steps, columns_fit=_OTHER_COLUMNS not in differences)
            kept += [f"{draft.app}.{name} is kept as it is: {found}" for found in differences]
    if kept:
        draft.warnings += [*kept, "migrate --recreate-views builds the views that differ again, from the contract"]
    return steps


def differences_of(view: View, found: Objects, expected: Objects) -> list[str]:
    """How an existing view and its indexes differ from ours, in words."""
    ours = expected.views[view.name]
    differences = []
    has, wants = ([column.split(" ", 1) for column in side.columns] for side in (view, ours))
    if [name for name, _ in has] != [name for name, _ in wants]:
        differences.append(_OTHER_COLUMNS)
    else:
        types = [
            f"{name} is {kind} instead of {other}"
            for (name, kind), (_, other) in zip(has, wants, strict=True)
            if kind != other
        ]
        if types:
            differences.append(", ".join(types))
        if any("numeric(10,2)" in one for one in types):
            differences.append("a duration of 100,000,000 ms fails its refresh")
    if view.definition != ours.definition:
        differences.append("its query differs")
    for name in index_names(view.name):
        index = found.indexes.get(name)
        if index is not None and index.definition != expected.indexes[name].definition:
            differences.append(f"index {name} differs")
    return differences


def given_views(draft: Draft) -> list[Step]:
    """Views of a superuser go to the owner of action_results: before PostgreSQL 17 the functions act as their owner."""
    steps = []
    for view in draft.installed.found.views.values():
        owner = draft.owner_of(view)
        if owner != view.owner:
            own = command(
                "own_view", app=sql.Identifier(draft.app), view=sql.Identifier(view.name), owner=sql.Identifier(owner)
            )
            commands = (command("bound_waiting"), own, command("unbound_waiting"))
            draft.creators.add(owner)
            steps.append(Step(f"give view {draft.app}.{view.name} to {owner}", commands, role=draft.role))
    return steps


def _populate(draft: Draft, view: str, target: str, role: str) -> Step:
    names = {"target": sql.Identifier(target), "view": sql.Identifier(view), "view_name": sql.Literal(view)}
    return Step(f"populate {draft.app}.{view}", (command("populate", **names),), populates=view, role=role)


def _mend(draft: Draft, view: View, steps: ViewSteps, *, columns_fit: bool) -> None:
    """Add what an existing view lacks: indexes, comments, contents."""
    found, before = draft.installed.found.indexes, len(steps.touches)
    role = draft.actor(draft.owner_of(view))
    for name in index_names(view.name) if columns_fit else ():
        create = draft.definitions.create(name)
        if name not in found:
            draft.creators.add(role)
            steps.touches.append(Step(f"create index {draft.app}.{name}", (create,), role=role))
        elif not found[name].valid:
            drop = command("drop_index", app=sql.Identifier(draft.app), index=sql.Identifier(name))
            draft.creators.add(role)
            steps.touches.append(Step(f"create the invalid index {draft.app}.{name} again", (drop, create), role=role))
    if not view.commented and columns_fit:
        comments = draft.definitions.comments(view.name)
        steps.touches.append(Step(f"comment on view {draft.app}.{view.name}", (comments,), role=role))
    if not view.populated:
        steps.touches.append(_populate(draft, view.name, draft.app, role))
    if len(steps.touches) > before:
        draft.need(view)


def _rebuild(draft: Draft, view: View, steps: ViewSteps) -> None:
    """Build the view in our schema, where it disturbs nobody, and put it in place at the end.

    As its owner from the first command on: indexes of its owner's may call functions of its owner's.
    """
    draft.need(view)
    owner = draft.owner_of(view)
    role = draft.actor(owner)
    draft.builders.add(role)
    # the swap creates there with its role's rights, and for the owner
    draft.creators |= {draft.role, role}
    dependents = draft.catalog.view_dependents(view.name)
    if dependents:
        draft.obstacles.append(
            f"{draft.app}.{view.name} cannot be created again while others depend on it ({', '.join(dependents)}): "
            "drop these, run migrate again, then create them again"
        )
    extra = [
        verbatim(index.definition)
        for index in draft.installed.found.indexes.values()
        if index.view_name == view.name and index.name not in index_names(view.name)
    ]
    build = (*draft.definitions.view(view.name, OUR_SCHEMA), *extra)
    steps.first.append(Step(f"build view {draft.app}.{view.name} again", build, role=role))
    steps.first.append(_populate(draft, view.name, OUR_SCHEMA, role))
    names = {"app": sql.Identifier(draft.app), "view": sql.Identifier(view.name)}
    own = [command("own_view", **names, owner=sql.Identifier(owner))] if owner != role else []
    grants = [verbatim(grant) for grant in draft.catalog.view_grants(view.name)]
    title = f"put the new view {draft.app}.{view.name} in place"
    steps.swaps.append(Step(title, (command("swap", **names), *own, *grants), role=draft.role))
