"""Generate organizations, users and triggers for the demo from a seed."""

import math
from dataclasses import dataclass
from random import Random

PLANS = ("enterprise", "pro", "pro", "starter", "free")
_ORGANIZATIONS = ("Northwind Labs", "Bluefin Capital", "Cedar Health", "Orbit Logistics", "Paper Lantern")
_ACTION_TYPES = ("telegram", "rest", "mcp")
_ACTION_TYPE_WEIGHTS = (45, 37, 18)
_MEDIAN_MS = {"telegram": 95.0, "rest": 140.0, "mcp": 210.0}
_SPREAD = {"telegram": 0.45, "rest": 0.6, "mcp": 0.7}
_SUBJECTS = ("registration", "feedback", "transfer", "validation", "price", "balance", "score", "heartbeat")
_EFFECTS = {"telegram": "to Telegram", "rest": "to webhook", "mcp": "to agent"}
_TRIGGERS = 200
_USERS = 24
# Triggers without any execution, for the "idle triggers" query.
_IDLE_TRIGGERS = 6
_WITHOUT_ORGANIZATION = 12
# Version 4 and the RFC 9562 variant: uuid.UUID spends half of a generator's time on the same two lines.
_UUID_FIXED_BITS = 0xF << 76 | 0xC << 60
_UUID4 = 0x4 << 76 | 0x8 << 60


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant."""

    id: str
    name: str
    slug: str
    owner_id: str
    plan: str


@dataclass(frozen=True, slots=True)
class User:
    """A user, who owns triggers."""

    id: str
    username: str
    email: str


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger and how it behaves.

    `weight` is its share of the executions; `failure_rate` lies in 0..1.
    """

    id: str
    user_id: str | None
    organization_id: str | None
    name: str
    description: str | None
    chain_id: int | None
    registry: str | None
    enabled: bool
    is_stateful: bool
    action_type: str
    weight: float
    median_ms: float
    spread: float
    failure_rate: float


@dataclass(frozen=True, slots=True)
class World:
    """Everything that executions refer to."""

    organizations: tuple[Organization, ...]
    users: tuple[User, ...]
    triggers: tuple[Trigger, ...]


def new_id(random: Random) -> str:
    """Return a UUID4 as text, from `random`."""
    digits = f"{random.getrandbits(128) & ~_UUID_FIXED_BITS | _UUID4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def make_world(seed: int) -> World:
    """Return the world of `seed`: 5 organizations, 24 users, 200 triggers."""
    random = Random(f"world {seed}")  # noqa: S311
    users = tuple(_user(random, number) for number in range(_USERS))
    organizations = tuple(
        Organization(
            id=new_id(random),
            name=name,
            slug=name.lower().replace(" ", "-"),
            owner_id=users[number].id,
            plan=PLANS[number],
        )
        for number, name in enumerate(_ORGANIZATIONS)
    )
    triggers = tuple(_trigger(random, number, users, organizations) for number in range(_TRIGGERS))
    return World(organizations, users, triggers)


def _user(random: Random, number: int) -> User:
    username = f"user{number + 1:02d}"
    return User(new_id(random), username, f"{username}@demo.example")


def _trigger(random: Random, number: int, users: tuple[User, ...], organizations: tuple[Organization, ...]) -> Trigger:
    action_type = random.choices(_ACTION_TYPES, _ACTION_TYPE_WEIGHTS)[0]
    subject = random.choice(_SUBJECTS)
    has_organization = number % (_TRIGGERS // _WITHOUT_ORGANIZATION) != 5
    is_idle = number >= _TRIGGERS - _IDLE_TRIGGERS
    # A few slow and a few failing triggers, all rarely executed, as in a real application.
    is_slow, is_failing = number in {61, 97, 131, 160}, number in {53, 88, 149, 171}
    chain_id = random.choice((1, 10, 8453, 84532))
    return Trigger(
        id=new_id(random),
        user_id=random.choice(users).id,
        organization_id=random.choices(organizations, (40, 25, 18, 12, 5))[0].id if has_organization else None,
        name=f"{subject} {_EFFECTS[action_type]} #{number + 1}",
        description=f"Sends every {subject} event {_EFFECTS[action_type]}" if random.random() < 0.7 else None,
        chain_id=chain_id,
        registry=random.choice(("identity", "reputation", "validation")),
        enabled=not is_idle,
        is_stateful=random.random() < 0.3,
        action_type=action_type,
        weight=0.0 if is_idle else 1.0 / (number + 3) ** 0.9,
        median_ms=random.uniform(4_000, 9_000)
        if is_slow
        else _MEDIAN_MS[action_type] * math.exp(random.gauss(0, 0.25)),
        spread=_SPREAD[action_type],
        failure_rate=random.uniform(0.3, 0.6) if is_failing else min(0.06, random.expovariate(1 / 0.012)),
    )
