"""What a database has of our views, functions and schema."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Privileges:
    """The server, the role, and what the role may do. Owners are None where the schema does not exist."""

    server_version: int
    role: str
    creates_schemas: bool
    app_exists: bool
    uses_app: bool
    creates_in_app: bool
    owns_app: bool
    app_owner: str | None
    ours_exists: bool
    owns_ours: bool
    ours_owner: str | None
    versioned: bool
    reads_version: bool
    relations_in_ours: int


@dataclass(frozen=True, slots=True)
class Actor:
    """A role that owns what we touch: whether a migration may act as it, and what it may do here."""

    name: str
    may_become: bool
    superuser: bool
    creates_schemas: bool
    uses_app: bool
    creates_in_app: bool


@dataclass(frozen=True, slots=True)
class Installation:
    """The row of `analytics_refresh.installation`, with the newest version applied."""

    app_schema: str
    mode: str
    version: int
    failures_redacted: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """`action_results`: whether it can be read, its owner, and the columns that it lacks."""

    readable: bool
    owner: str
    missing: list[str]


@dataclass(frozen=True, slots=True)
class View:
    """A relation that has the name of one of the four views. `columns` are `name type`, in order."""

    name: str
    kind: str
    owner: str
    owned: bool
    populated: bool
    commented: bool
    definition: str
    columns: list[str]
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """An index on one of the views; `definition` as it would read on the view in the schema asked for."""

    name: str
    view_name: str
    valid: bool
    definition: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function that has the name of one of ours. `signature` and `body` are only to be compared."""

    name: str
    arguments: str
    owner: str
    owned: bool
    commented: bool
    definer: bool
    public_may_call: bool
    signature: str
    body: str


@dataclass(frozen=True, slots=True)
class Objects:
    """Views, their indexes, and functions in one schema."""

    views: Mapping[str, View]
    indexes: Mapping[str, Index]
    functions: Mapping[tuple[str, str], Function]


@dataclass(frozen=True, slots=True)
class Installed:
    """Everything that a plan needs to know. `expected` is None where the role could not build it to compare.

    `home` is the role that is to own our schema and functions. `foreign` describe what in our schema would run code
    of a role that is neither the owner of action_results nor the one that migrates; with one, nothing of it was read.
    `recorded` is what `migrate` noted of the views. `redacted` is whether recent_failures is to store redacted texts.
    """

    privileges: Privileges
    home: str
    actors: Mapping[str, Actor]
    foreign: tuple[str, ...]
    installation: Installation | None
    source: Source | None
    found: Objects
    expected: Objects | None
    recorded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    redacted: bool = False

    @property
    def changes_texts(self) -> bool:
        """Whether what is noted of the texts of recent_failures is to change."""
        return self.redacted != (self.installation is not None and self.installation.failures_redacted)
