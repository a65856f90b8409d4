"""What is collected while a plan is drawn up."""

from dataclasses import dataclass, field

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.schema.acting import Acting
from analytics_refreshd.postgres.schema.installed import Function, View


@dataclass(slots=True)
class Draft(Acting):
    """A plan being drawn up. `obstacles` are sentences; with one of them, nothing is done."""

    warnings: list[str] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    # roles that run our functions
    owners: set[str] = field(default_factory=set)

    def need(self, thing: View | Function) -> None:
        """The role must own what it changes."""
        if not thing.owned and not self.installed.actors[thing.owner].may_become:
            self.obstacles.append(
                f"role {self.role} does not own {self.app}.{thing.name}: run migrate as {thing.owner} or a superuser"
            )

    def refuse(self) -> None:
        """Raise MigrationError with every obstacle so far, if there is one."""
        if self.obstacles:
            raise MigrationError("; ".join(dict.fromkeys(self.obstacles)))
