"""What happens to the four views: create, keep, fix, or build again."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from psycopg import sql

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental.commands import VIEW_WITHOUT_ROLLUP, Commands, block
from analytics_refreshd.postgres.migrate.steps import Draft
from analytics_refreshd.postgres.schema.acting import Step
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, index_names, verbatim
from analytics_refreshd.postgres.schema.dependents import dependents, in_words, obstacles
from analytics_refreshd.postgres.schema.differences import OTHER_COLUMNS, differences_of
from analytics_refreshd.postgres.schema.installation import installed_views, record_views
from analytics_refreshd.postgres.schema.installed import Objects, View
from analytics_refreshd.postgres.schema.replacing import Replacement, build, put_in_place


@dataclass(slots=True)
class ViewSteps:
    """`first` disturbs nobody; `touches` locks existing views against refreshes; `swaps` against readers.

    `ours` names the views that are by our definition in the end, `others` those that are kept by another.
    """

    first: list[Step] = field(default_factory=list)
    touches: list[Step] = field(default_factory=list)
    swaps: list[Step] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the four views are to be in this database's mode, and what the server makes of that.

    `create(name, target)` is the command that creates a view, and `create_other` that of one whose texts are redacted
    if they are not, and stored if they are. `expected` is None where the role could not build it.
    """

    create: Callable[[str, str], sql.Composed]
    create_other: Callable[[str, str], sql.Composed]
    expected: Objects | None
    reads_rollups: bool = False
    functions: tuple[sql.Composed, ...] = ()


def wanted_views(draft: Draft, mode: str) -> Wanted:
    """Return the definitions of the views in `mode`."""
    definitions = draft.definitions
    other = replace(definitions, redacted=not definitions.redacted)
    if mode == "plain":
        return Wanted(definitions.create, other.create, draft.installed.expected)
    incremental = Commands(definitions)
    rollups = incremental.view
    row = draft.catalog.connection.execute(block("install", "has_rows_functions")).fetchone()
    # an installation renews those that are there
    functions = () if row and row[0] else tuple(incremental.rows_functions())
    commands = [
        *functions,
        *(
            each
            for name in VIEWS
            for each in (
                rollups(name, OUR_SCHEMA),
                *(definitions.create(index, OUR_SCHEMA) for index in index_names(name)),
            )
        ),
    ]
    expected = draft.catalog.expected(commands, draft.home) if draft.installed.expected is not None else None
    return Wanted(rollups, Commands(other).view, expected, reads_rollups=True, functions=functions)


def view_steps(draft: Draft, wanted: Wanted, *, recreate: bool) -> ViewSteps:
    """The steps for the four views."""
    steps = ViewSteps()
    kept: list[str] = []
    replaced: list[str] = []
    for name in VIEWS:
        view = draft.installed.found.views.get(name)
        if view is None:
            draft.creators.add(draft.home)
            create = (wanted.create(name, draft.app), *_parts(draft, name, draft.app), *_regrants(draft, name))
            steps.first.append(Step(f"create view {draft.app}.{name}", create))
            steps.first.append(_populate(draft, name, draft.app, draft.home))
            steps.ours.append(name)
            continue
        draft.owners.add(draft.owner_of(view))
        differences = differences_of(view, draft.installed.found, wanted.expected) if wanted.expected else []
        if differences and (recreate or _is_former(draft, wanted, view) or _has_other_texts(draft, wanted, view)):
            draft.need(view)
            steps.first.append(build(draft.catalog.connection, draft, _replacement(draft, wanted, name)))
            replaced.append(name)
        else:
            # our indexes and comments name columns that such a view may not have
            _mend(draft, view, steps, columns_fit=OTHER_COLUMNS not in differences)
            if name == VIEW_WITHOUT_ROLLUP and draft.installed.changes_texts and (differences or not wanted.expected):
                draft.obstacles.append(_texts_kept(draft, name, differences))
            if differences:
                kept.append(f"{draft.app}.{name} is kept as it is: {'; '.join(differences)}{_hanging(draft, name)}")
        same = wanted.expected is not None and view.definition == wanted.expected.views[name].definition
        (steps.ours if name in replaced or same else steps.others).append(name)
    if wanted.functions and (steps.first or replaced):
        doing = "create the functions that the views over rollups read"
        steps.first.insert(0, Step(doing, wanted.functions, role=draft.home))
    if replaced:
        draft.obstacles += obstacles(draft, dependents(draft.catalog.connection, draft.app, replaced))
        steps.swaps += put_in_place(draft.catalog.connection, draft, replaced)
    if kept:
        draft.warnings += [*kept, "migrate --replace builds the views that differ again, from the contract"]
    return steps


def record_steps(draft: Draft, views: ViewSteps, *, anyway: bool) -> list[Step]:
    """Note the definitions that the views have in the end, so that a later change by others shows.

    What was ours once and was changed by others stays noted as such, however it is now. Nothing is noted where nothing
    could be compared.
    """
    if draft.installed.expected is None:
        return []
    recorded = draft.installed.recorded
    found = draft.installed.found.views
    lost = [
        name
        for name in views.others
        if recorded.get(name, {}).get("ours") and recorded[name]["fingerprint"] != found[name].fingerprint
    ]
    wanted = {
        name: {"fingerprint": None if name in lost else found[name].fingerprint, "ours": name not in others}
        for others in [set(views.others) - set(lost)]
        for name in (*views.ours, *views.others)
        if name in found
    }
    if not anyway and wanted == recorded:
        return []
    others = [name for name in views.others if name not in lost]
    return [Step("note the definitions of the views", (record_views(draft.app, others=others, lost=lost),))]


def _is_former(draft: Draft, wanted: Wanted, view: View) -> bool:
    """Whether a view over rollups is as an earlier version made it: untouched since, and reading what it should."""
    if (
        not wanted.reads_rollups
        or wanted.expected is None
        or view.definition == wanted.expected.views[view.name].definition
    ):
        return False
    noted = draft.installed.recorded.get(view.name)
    untouched = noted is None or (noted["ours"] and noted["fingerprint"] == view.fingerprint)
    (found,) = installed_views(draft.catalog.connection, draft.app, [view.name])
    return untouched and (found.reads_table or (found.reads_rollups and view.name != VIEW_WITHOUT_ROLLUP))


def _has_other_texts(draft: Draft, wanted: Wanted, view: View) -> bool:
    """Whether a view is ours but for its texts, which are redacted in one of both and not in the other."""
    if view.name != VIEW_WITHOUT_ROLLUP:
        return False
    other = draft.catalog.expected([wanted.create_other(view.name, OUR_SCHEMA)], draft.home)
    return other is not None and other.views[view.name].definition == view.definition


def _texts_kept(draft: Draft, name: str, differences: list[str]) -> str:
    """Say why the texts of a view cannot be changed."""
    if not differences:
        return f"role {draft.role} may create nothing here, so that {draft.app}.{name} cannot be built again"
    return (
        f"{draft.app}.{name} is not ours: {'; '.join(differences)}; the same command with --replace puts ours in place"
    )


def _parts(draft: Draft, name: str, target: str) -> list[sql.Composed]:
    """The commands for a view's indexes and comments."""
    definitions = draft.definitions
    indexes = [definitions.create(index, target) for index in index_names(name)]
    return [*indexes, definitions.comments(name, target)]


def _regrants(draft: Draft, name: str) -> list[sql.Composed]:
    """The grants of a view that was dropped, as far as the others tell. What cannot be known is said."""
    if not draft.installed.found.views:
        return []
    grants = draft.catalog.sibling_grants(name)
    draft.warnings.append(
        f"{draft.app}.{name} was missing, and its grants with it: granted again as on the other views: "
        f"{'; '.join(grants) or 'nothing'}; run deploy/sql/grants.sql again, and deploy/sql/reader.sql where it is used"
    )
    return [verbatim(grant) for grant in grants]


def _hanging(draft: Draft, name: str) -> str:
    found = dependents(draft.catalog.connection, draft.app, [name])
    return f"; on it depend, and are kept by --replace: {in_words(found)}" if found else ""


def _replacement(draft: Draft, wanted: Wanted, name: str) -> Replacement:
    owner = draft.owner_of(draft.installed.found.views[name])
    role = sql.Identifier(draft.actor(owner))
    grants = (block("install", "grant_owner", owner=role),) if wanted.reads_rollups else ()
    columns = wanted.expected.views[name].columns if wanted.expected else []
    return Replacement(
        name,
        tuple(column.split(" ", 1)[0] for column in columns),
        (wanted.create(name, OUR_SCHEMA), *_parts(draft, name, OUR_SCHEMA)),
        index_names(name),
        grants,
    )


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
