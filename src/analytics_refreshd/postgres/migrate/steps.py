"""A step of a plan, and what is collected while a plan is drawn up."""

from dataclasses import dataclass, field

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.schema.definitions import Definitions
from analytics_refreshd.postgres.schema.installed import Catalog, Function, Installed, View


@dataclass(frozen=True, slots=True)
class Step:
    """Commands under one heading. `populates` names the view that a step fills, which may take long."""

    title: str
    commands: tuple[sql.Composed, ...]
    populates: str | None = None


@dataclass(slots=True)
class Draft:
    """A plan being drawn up. `obstacles` are sentences; with one of them, nothing is done."""

    catalog: Catalog
    installed: Installed
    warnings: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    # roles other than ours that run our functions
    owners: set[str] = field(default_factory=set)
    creates_in_app: bool = False

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

    def need(self, thing: View | Function) -> None:
        """The role must own what it changes."""
        if not thing.owned:
            self.obstacles.append(
                f"role {self.role} does not own {self.app}.{thing.name}: run migrate as {thing.owner} or a superuser"
            )

    def refuse(self) -> None:
        """Raise MigrationError with every obstacle so far, if there is one."""
        if self.obstacles:
            raise MigrationError("; ".join(dict.fromkeys(self.obstacles)))
