"""A step of a plan, and what is collected while a plan is drawn up."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres import sqlfiles
from analytics_refreshd.postgres.definitions import OUR_SCHEMA, Definitions, compose, set_role, verbatim
from analytics_refreshd.postgres.installed import Catalog, Function, Installed, View


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
class Draft:
    """A plan being drawn up. `obstacles` are sentences; with one of them, nothing is done."""

    catalog: Catalog
    installed: Installed
    warnings: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    # roles that run our functions, and those that create in the application's schema and in ours
    owners: set[str] = field(default_factory=set)
    creators: set[str] = field(default_factory=set)
    builders: set[str] = field(default_factory=set)

    @property
    def app(self) -> str:
        """The application's schema."""
        return self.catalog.app_schema

    @property
    def role(self) -> str:
        """Who runs the migration."""
        return self.installed.privileges.role

    @property
    def definitions(self) -> Definitions:
        """Our definitions for this database."""
        return Definitions(self.app, self.installed.privileges.server_version)

    @property
    def home(self) -> str:
        """Who is to own our schema and functions."""
        return self.installed.home

    @property
    def gives(self) -> bool:
        """Whether what others installed goes to the owner of action_results, as which this role may act."""
        source = self.installed.source
        return source is not None and source.owner == self.home

    def actor(self, owner: str) -> str:
        """Who changes what `owner` owns: that role itself where ours may act as it, so that its code is its own."""
        return owner if self.installed.actors[owner].may_become else self.role

    def owner_of(self, view: View) -> str:
        """Who owns a view when the migration is over: a superuser's goes to the owner of action_results."""
        actors = self.installed.actors
        too_much = actors[view.owner].superuser and not actors[self.home].superuser and view.owned
        return self.home if too_much and self.gives else view.owner

    def need(self, thing: View | Function) -> None:
        """The role must own what it changes."""
        if not thing.owned and not self.installed.actors[thing.owner].may_become:
            self.obstacles.append(
                f"role {self.role} does not own {self.app}.{thing.name}: run migrate as {thing.owner} or a superuser"
            )

    def carried_out(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The steps, each with the command that acts as its role, between lending what they need and taking it back."""
        acting = self.role
        for step in (*self._lend("lend_create"), *steps, *self._lend("end_lending")):
            role = step.role or self.home
            yield step if role == acting else replace(step, commands=(set_role(role), *step.commands))
            acting = role

    def _lend(self, name: str) -> Iterator[Step]:
        verb = "lend" if name == "lend_create" else "end the lending of"
        lacking = sorted(one for one in self.creators if not self.installed.actors[one].creates_in_app)
        for role in lacking:
            names = {"schema": sql.Identifier(self.app), "role": sql.Identifier(role)}
            yield Step(f"{verb} CREATE on schema {self.app} to {role}", (command(name, **names),), role=self.role)
        if name == "end_lending":
            yield from self.lend_ours(name)

    def lend_ours(self, name: str) -> Iterator[Step]:
        """Let the owners of views that are built in our schema create there, or end that."""
        verb = "lend" if name == "lend_create" else "end the lending of"
        for role in sorted(self.builders - {self.home}):
            names = {"schema": sql.Identifier(OUR_SCHEMA), "role": sql.Identifier(role)}
            yield Step(f"{verb} CREATE on schema {OUR_SCHEMA} to {role}", (command(name, **names),))

    def refuse(self) -> None:
        """Raise MigrationError with every obstacle so far, if there is one."""
        if self.obstacles:
            raise MigrationError("; ".join(dict.fromkeys(self.obstacles)))


def command(name: str, /, **names: sql.Composable) -> sql.Composed:
    """The block `name` of `bootstrap.sql` with its placeholders filled."""
    text = sqlfiles.blocks("bootstrap.sql")[name]
    return compose(text, **names) if names else verbatim(text)
