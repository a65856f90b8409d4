"""What stands in the way of a migration, found before anything is changed."""

from collections.abc import Iterator

from analytics_refreshd.postgres.connection.versions import TESTED_VERSIONS, too_old
from analytics_refreshd.postgres.migrate.steps import Draft
from analytics_refreshd.postgres.schema.acting import foreign_obstacle
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA
from analytics_refreshd.postgres.schema.installed import Installed


def database_obstacles(installed: Installed, app: str) -> Iterator[str]:
    """Why the views cannot live in this database, one sentence each."""
    has = installed.privileges
    if too_old(has.server_version):
        yield f"PostgreSQL {has.server_version // 10000} is too old: use {TESTED_VERSIONS[0]} or newer"
    yield from _application_obstacles(installed, app)
    yield from _schema_obstacles(installed, app)
    for view in installed.found.views.values():
        if view.kind != "m":
            yield f"{app}.{view.name} is not a materialized view: rename it, then run migrate again"


def _application_obstacles(installed: Installed, app: str) -> Iterator[str]:
    has, source = installed.privileges, installed.source
    if "$" in app:
        yield f"schema {app} has a $ in its name, which our functions cannot hold: rename it"
    if not has.app_exists:
        yield f"there is no schema {app}: set [database] schema to the application's schema"
    elif not has.uses_app:
        yield f"role {has.role} may not use schema {app}: run migrate as {has.app_owner} or a superuser"
    elif source is None:
        yield f"there is no table {app}.action_results: set [database] schema to the application's schema"
    elif source.missing:
        yield f"{app}.action_results lacks the columns {', '.join(source.missing)}: add them, then run migrate again"


def _schema_obstacles(installed: Installed, app: str) -> Iterator[str]:
    has, installation = installed.privileges, installed.installation
    if installed.foreign:
        yield foreign_obstacle(installed, app)
        return
    if has.versioned and not has.reads_version:
        yield f"role {has.role} may not read schema {OUR_SCHEMA}: run migrate as {has.ours_owner} or a superuser"
    elif has.versioned and installation is None:
        yield f"schema {OUR_SCHEMA} has no row in installation: restore it, or drop the schema and run migrate again"
    if has.ours_exists and not has.versioned and has.relations_in_ours:
        yield f"schema {OUR_SCHEMA} exists and is not ours: rename it, then run migrate again"
    if installation is not None and installation.app_schema != app:
        yield (
            f"this database is installed for schema {installation.app_schema}, not {app}: set [database] schema to "
            f"{installation.app_schema}, or run migrate --uninstall first"
        )


def privilege_obstacles(draft: Draft) -> list[str]:
    """Which privileges the role lacks for what the draft does, and who has them."""
    has, source, actors = draft.installed.privileges, draft.installed.source, draft.installed.actors
    found = []
    if source is not None and not source.readable and source.owner != draft.home:
        found.append(
            f"role {has.role} may not read {draft.app}.action_results: run migrate as {source.owner} or a superuser"
        )
    if not actors[draft.home].uses_app:
        found.append(
            f"role {draft.home}, which owns {draft.app}.action_results and as which our functions act, may not use "
            f"schema {draft.app}: grant usage on schema {draft.app} to {draft.home}, then run migrate again"
        )
    found += [
        f"role {role} may not create in schema {draft.app}: run migrate as {has.app_owner} or a superuser"
        for role in sorted(draft.creators)
        if not actors[role].creates_in_app and not has.owns_app
    ]
    if has.ours_owner is not None and not has.owns_ours and not actors[has.ours_owner].may_become:
        found.append(
            f"role {has.role} does not own schema {OUR_SCHEMA}: run migrate as {has.ours_owner} or a superuser"
        )
    if not has.ours_exists and not has.creates_schemas and not actors[draft.home].creates_schemas:
        found.append(f"role {has.role} may not create schemas here: run migrate as the database's owner or a superuser")
    if draft.installed.expected is None and not found:
        found.append(f"role {has.role} may create nothing here, or the server is read-only: run migrate as a superuser")
    return found
