"""Steps of a change, each carried out by the role whose rights it takes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from psycopg import sql

from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, Definitions, set_role
from analytics_refreshd.postgres.schema.installed import Installed, View

_FOREIGN_NAMED = 5


@dataclass(frozen=True, slots=True)
class Step:
    """Commands under one heading. `populates` names the view that a step fills, which may take long.

    `role` is who carries it out; None is the role that is to own our schema and functions.
    """

    title: str
    commands: tuple[sql.Composed, ...]
    populates: str | None = None
    role: str | None = None


@dataclass(slots=True)
class Acting:
    """What is there, and who acts on it: never a role with more rights than the owner of what is changed.

    `creators` create in the application's schema, `builders` in ours; what they lack they are lent for the transaction.
    """

    catalog: Catalog
    installed: Installed
    creators: set[str] = field(default_factory=set)
    builders: set[str] = field(default_factory=set)

    @property
    def app(self) -> str:
        """The application's schema."""
        return self.catalog.app_schema

    @property
    def role(self) -> str:
        """The role that is connected."""
        return self.installed.privileges.role

    @property
    def home(self) -> str:
        """The role that is to own our schema and functions."""
        return self.installed.home

    @property
    def definitions(self) -> Definitions:
        """Our definitions for this database."""
        return Definitions(self.app, self.installed.privileges.server_version, redacted=self.installed.redacted)

    @property
    def gives(self) -> bool:
        """Whether what others installed goes to the owner of action_results."""
        source = self.installed.source
        return source is not None and source.owner == self.home

    def actor(self, owner: str) -> str:
        """Return who changes what `owner` owns: that role, if ours may act as it, so that its code is its own."""
        return owner if self.installed.actors[owner].may_become else self.role

    def owner_of(self, view: View) -> str:
        """Return who owns a view at the end: a superuser's goes to the owner of action_results."""
        actors = self.installed.actors
        too_much = actors[view.owner].superuser and not actors[self.home].superuser and view.owned
        return self.home if too_much and self.gives else view.owner

    def carried_out(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Return the steps, each with the command that acts as its role.

        They stand between lending what they need and taking it back.
        """
        acting = self.role
        for step in (*self._lend("lend_create"), *steps, *self._lend("end_lending")):
            role = step.role or self.home
            yield step if role == acting else replace(step, commands=(set_role(role), *step.commands))
            acting = role

    def lend_ours(self, name: str) -> Iterator[Step]:
        """Let the owners of views that are built in our schema create there, or end that."""
        verb = "lend" if name == "lend_create" else "end the lending of"
        for role in sorted(self.builders - {self.home}):
            names = {"schema": sql.Identifier(OUR_SCHEMA), "role": sql.Identifier(role)}
            yield Step(f"{verb} CREATE on schema {OUR_SCHEMA} to {role}", (command(name, **names),))

    def _lend(self, name: str) -> Iterator[Step]:
        verb = "lend" if name == "lend_create" else "end the lending of"
        lacking = sorted(one for one in self.creators if not self.installed.actors[one].creates_in_app)
        for role in lacking:
            names = {"schema": sql.Identifier(self.app), "role": sql.Identifier(role)}
            yield Step(f"{verb} CREATE on schema {self.app} to {role}", (command(name, **names),), role=self.role)
        if name == "end_lending":
            yield from self.lend_ours(name)


def foreign_obstacle(installed: Installed, app: str) -> str:
    """Return the sentence that refuses what others put in our schema's place or attached to it."""
    role = installed.privileges.role
    owner = installed.source.owner if installed.source else role
    # a schema of another role's comes with all that is in it
    named = sorted(installed.foreign, key=lambda described: not described.startswith("schema "))[:_FOREIGN_NAMED]
    if len(installed.foreign) > len(named):
        named.append(f"and {len(installed.foreign) - len(named)} more")
    return (
        f"schema {OUR_SCHEMA} would run code of others with your rights: {'; '.join(named)}; only "
        f"{owner}, who owns {app}.action_results, and {role}, who migrates, may own what is there: find out who made "
        f"it, drop it or give it to {owner}, then run migrate again"
    )
