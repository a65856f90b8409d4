"""What `migrate` will do to a database, decided from what the database has."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from analytics_refreshd.postgres.migrate.functions import closed_functions, function_steps, given_functions
from analytics_refreshd.postgres.migrate.preflight import database_obstacles, privilege_obstacles
from analytics_refreshd.postgres.migrate.steps import Draft
from analytics_refreshd.postgres.migrate.tenants import tenant_steps
from analytics_refreshd.postgres.migrate.views import given_views, record_steps, view_steps, wanted_views
from analytics_refreshd.postgres.schema import definitions as wanted
from analytics_refreshd.postgres.schema.acting import Step
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA
from analytics_refreshd.postgres.schema.installed import Installed

Found = Literal["fresh", "older install", "ours", "newer"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was found and what to do about it, in an order in which locks are held for the shortest time.

    `version` is the version found, 0 without our schema. `mode` is `plain` or `incremental`. `tables` are the steps
    that change the tables of our schema.
    """

    found: Found
    version: int
    mode: str
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    tables: tuple[Step, ...] = ()


def what_is_there(installed: Installed) -> Found:
    """In a word, what the database has."""
    if installed.installation is not None:
        return "newer" if installed.installation.version > wanted.latest_version() else "ours"
    return "older install" if installed.found.views or installed.found.functions else "fresh"


def make_plan(catalog: Catalog, installed: Installed, *, recreate_views: bool, tenants: bool = False) -> Plan:
    """The plan for a database. Raises MigrationError, naming every obstacle, where it cannot be carried out.

    `tenants` asks for what the API needs; where that is there already, it is renewed anyway.
    """
    found, installation = what_is_there(installed), installed.installation
    version, mode = (installation.version, installation.mode) if installation else (0, "plain")
    draft = Draft(catalog, installed)
    if found == "newer":
        warning = (
            f"the schema is at version {version}, newer than the {wanted.latest_version()} of this program: nothing is "
            "changed; upgrade the program"
        )
        return Plan(found, version, mode, (), (warning,))
    draft.obstacles += database_obstacles(installed, draft.app)
    draft.refuse()
    views = view_steps(draft, wanted_views(draft, mode), recreate=recreate_views)
    # in incremental mode an installation renews the functions, which read rollups
    functions = [*given_functions(draft), *(function_steps if mode == "plain" else closed_functions)(draft)]
    views.touches[:0] = given_views(draft)
    api = tenant_steps(draft, wanted=tenants)
    tables = [*_gifts(draft), *_schema_steps(draft, version), *api.tables]
    steps = [*tables, *_redaction_steps(draft), *_grant_steps(draft, version)]
    steps += [*draft.lend_ours("lend_create"), *views.first, *functions]
    if views.touches or views.swaps:
        steps.append(Step("wait for a running refresh", (command("hold_refreshes"),)))
    steps += [*views.touches, *views.swaps]
    steps += record_steps(draft, views, anyway=bool(views.first or views.swaps))
    steps += api.rest
    if steps:
        draft.obstacles += privilege_obstacles(draft)
    if installed.expected is None:
        draft.warnings.append(
            f"role {draft.role} may create nothing here, so whether views and functions differ from ours was not seen"
        )
    draft.refuse()
    carried_out, tables_only = (tuple(draft.carried_out(each)) if each else () for each in (steps, tables))
    return Plan(found, version, mode, carried_out, tuple(draft.warnings), tables_only)


def _schema_steps(draft: Draft, version: int) -> Iterator[Step]:
    """Our own schema and the migrations that it lacks, each with its version row first."""
    has = draft.installed.privileges
    if not has.ours_exists:
        creator = draft.role if has.creates_schemas else draft.home
        yield Step(f"create schema {OUR_SCHEMA}", (wanted.create_schema(draft.home),), role=creator)
    if version == 0:
        yield Step(f"create table {OUR_SCHEMA}.schema_version", (command("schema"),))
    for number in range(version + 1, wanted.latest_version() + 1):
        name = wanted.migration_name(number)
        row = command("version", version=sql.Literal(number), name=sql.Literal(name))
        script = draft.definitions.migration(number)
        yield Step(f"migration {name}", (row, script) if script else (row,))


def _redaction_steps(draft: Draft) -> Iterator[Step]:
    """Note whether recent_failures stores redacted texts, where that changes."""
    if draft.installed.changes_texts:
        redacted = draft.installed.redacted
        title = f"note that {draft.app}.recent_failures stores {'redacted texts' if redacted else 'texts as they are'}"
        yield Step(title, (command("note_redaction", redacted=sql.Literal(redacted)),))


def _gifts(draft: Draft) -> Iterator[Step]:
    """What a superuser installed before goes to the owner of action_results."""
    if draft.installed.privileges.ours_exists and draft.gives:
        gifts = draft.catalog.gifts(draft.home)
        if gifts:
            title = f"give schema {OUR_SCHEMA} and what is in it to {draft.home}"
            yield Step(title, tuple(wanted.verbatim(each) for each in gifts), role=draft.role)


def _grant_steps(draft: Draft, version: int) -> Iterator[Step]:
    """Whoever owns views or functions of an older install must be able to record its refreshes."""
    for owner in sorted(draft.owners - {draft.home}):
        if version == 0 or not draft.catalog.may_record(owner):
            yield Step(f"let {owner} record refreshes", (command("allow_recording", role=sql.Identifier(owner)),))
