"""Tokens of users, members of organizations, and an API that takes both."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import psycopg

from tests.support.api import Api, api_role
from tests.support.faults import Connection
from tests.support.tenants import fill

JWT_SECRET = "0123456789abcdef" * 2
MEMBERS = """
create table organization_members (organization_id text, user_id text, role text);
insert into organization_members values
"""


def bearer(user: str, **claims: object) -> dict[str, str]:
    """The header of a user's token."""
    token = jwt.encode({"sub": user, "exp": time.time() + 3600, **claims}, JWT_SECRET, "HS256")
    return {"Authorization": f"Bearer {token}"}


def taking_tokens(folder: Path, **claims: str) -> dict[str, Any]:
    """Write the secret of tokens; return the settings of `[api]`, with the claims of these kinds."""
    (folder / "jwt").write_text(JWT_SECRET)
    given = {"algorithms": ["HS256"], "secret_file": str(folder / "jwt")}
    given |= {f"{kind}_claim": name for kind, name in claims.items()}
    return {f"jwt_{name}": value for name, value in given.items()}


@contextmanager
def members_api(dsn: str, folder: Path, members: str, **claims: str) -> Iterator[tuple[Api, Connection, str]]:
    """An API of two tenants with members: itself, the owner's connection, and the database as its role sees it."""
    settings = {f"api__{name}": value for name, value in taking_tokens(folder, **claims).items()}
    with psycopg.connect(dsn, autocommit=True) as owner:
        fill(owner)
        owner.execute(MEMBERS + members)
        with api_role(dsn, owner, folder) as (own, secret), Api(own, secret, **settings) as api:
            yield api, owner, own
