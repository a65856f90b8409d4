"""The `keys` command: API keys."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from analytics_refreshd.cli.common import (
    EXIT_OK,
    EXIT_PARTIAL,
    Format,
    FormatOption,
    clock,
    example,
    load_config,
    note,
    print_exact,
    print_json,
    say,
    span_or_moment,
)
from analytics_refreshd.cli.tables import print_table
from analytics_refreshd.core.access import KeyRequest
from analytics_refreshd.core.errors import UsageError

if TYPE_CHECKING:
    from analytics_refreshd.core.access import ApiKey

_BAD_REQUEST = EXIT_PARTIAL


class Action(StrEnum):
    """What to do with keys."""

    CREATE = "create"
    LIST = "list"
    REVOKE = "revoke"


class Role(StrEnum):
    """A key's role, as in organization_members."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


class Plan(StrEnum):
    """A plan, as in organizations."""

    FREE = "free"
    STARTER = "starter"
    PRO = "pro"
    ENTERPRISE = "enterprise"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=example(
            "analytics-refreshd keys list",
            "analytics-refreshd keys revoke key_0123456789ab",
            'analytics-refreshd keys create "portal" --organization acme --role viewer --expires 90d',
        )
    )(keys)


def keys(
    context: typer.Context,
    action: Annotated[Action, typer.Argument(metavar="create|list|revoke")],
    key: Annotated[
        str | None, typer.Argument(metavar="NAME_OR_ID", help="The name of a new key; the id of one to revoke.")
    ] = None,
    organization: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="An organization that a new key sees. Repeatable.")
    ] = None,
    all_organizations: Annotated[
        bool, typer.Option("--all-organizations", help="A new key sees all organizations.")
    ] = False,
    role: Annotated[Role, typer.Option(help="The role of a new key.")] = Role.VIEWER,
    plan: Annotated[Plan | None, typer.Option(help="Its plan. Default: that of its organization.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="A new key may ask for refreshes and pauses.")] = False,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="When it expires: a duration like 90d, or a time with its zone.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> int:
    """Make, list or revoke keys of the API.

    A new key is shown once; the database keeps its hash. `migrate --tenants` comes first.
    """
    from analytics_refreshd.app.commands import keys as command

    creates = action is Action.CREATE
    if not creates and (organization or all_organizations or plan or operator or expires):
        raise UsageError(f"keys {action} takes no option but --format")
    if (key is None) != (action is Action.LIST):
        raise UsageError("give a name for a new key, the id of a key to revoke, and neither for the list")
    if creates and bool(organization) == all_organizations:
        raise UsageError("which organizations does the key see? Give --organization ID, or --all-organizations")
    config = load_config(context)
    try:
        if action is Action.LIST:
            return _show(command.listed(config), output)
        assert key is not None  # noqa: S101 - refused above
        if action is Action.REVOKE:
            return _revoked(command.revoke(config, key), output)
        wanted = KeyRequest(
            name=key,
            organizations=None if all_organizations else tuple(dict.fromkeys(organization or ())),
            role=role.value,
            plan=plan.value if plan else None,
            operator=operator,
            expires_at=_expiry(expires),
        )
        return _created(*command.create(config, wanted), output)
    except command.KeyRequestError as error:
        note(f"analytics-refreshd: {error}")
        return _BAD_REQUEST


def _expiry(text: str | None) -> datetime | None:
    if text is None:
        return None
    given = span_or_moment(text)
    return datetime.now(UTC) + given if isinstance(given, timedelta) else given


def _created(secret: str, key: "ApiKey", output: Format) -> int:
    if output is Format.JSON:
        print_json({"key": secret, **_as_json(key)})
        return EXIT_OK
    note(f"{key.key_id} sees {_organizations(key)} as {key.role}; this is the key, shown once:")
    print_exact(secret)
    return EXIT_OK


def _revoked(key: "ApiKey", output: Format) -> int:
    if output is Format.JSON:
        print_json(_as_json(key))
    else:
        say(f"{key.key_id} is revoked since {clock(key.revoked_at)}; every process of the API refuses it within 10 s")
    return EXIT_OK


def _show(found: "list[ApiKey]", output: Format) -> int:
    if output is Format.JSON:
        print_json([_as_json(key) for key in found])
        return EXIT_OK
    now = datetime.now(UTC)
    print_table(
        ["id", "name", "state", "organizations", "role", "plan", "operator", "created", "expires", "last used"],
        [
            [
                key.key_id,
                key.name,
                key.state(now).value,
                _organizations(key),
                key.role,
                key.plan,
                key.operator,
                clock(key.created_at),
                clock(key.expires_at),
                clock(key.last_used_at),
            ]
            for key in found
        ],
        spare=("created", "plan", "operator", "expires", "last used"),
    )
    return EXIT_OK


def _organizations(key: "ApiKey") -> str:
    return "all organizations" if key.organizations is None else ", ".join(key.organizations)


def _as_json(key: "ApiKey") -> dict[str, object]:
    return {
        "id": key.key_id,
        "name": key.name,
        "state": key.state(datetime.now(UTC)).value,
        "organizations": None if key.organizations is None else list(key.organizations),
        "role": key.role,
        "plan": key.plan,
        "operator": key.operator,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
