"""Run `demo --chaos`: the server, two daemons on it, breaks one after the other, and the score."""

import os
import secrets
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.demo import DemoError
from analytics_refreshd.demo.api import as_toml
from analytics_refreshd.demo.chaos import cases, report
from analytics_refreshd.demo.chaos.breaking import Breaker
from analytics_refreshd.demo.chaos.daemons import Daemon, Place
from analytics_refreshd.demo.chaos.inbox import Inbox
from analytics_refreshd.demo.chaos.model import breaks
from analytics_refreshd.demo.chaos.settings import REPLICAS, ROLE, settings
from analytics_refreshd.demo.chaos.show import Show
from analytics_refreshd.demo.filling import SEED, fill
from analytics_refreshd.demo.folder import CONFIGURATION
from analytics_refreshd.demo.interrupt import Interrupt
from analytics_refreshd.demo.live import Live
from analytics_refreshd.demo.loading import statement
from analytics_refreshd.demo.options import CHAOS_ROWS, DEFAULT_HTTP_PORT, ChaosOptions, DemoOutput, Options
from analytics_refreshd.demo.places import where_to_look
from analytics_refreshd.demo.ports import HOST, held_port
from analytics_refreshd.demo.server import Server
from analytics_refreshd.demo.session import forget_surroundings
from analytics_refreshd.demo.world import make_world

_SEEDS = 10_000
_EXIT_MISSED = 1


def run(options: ChaosOptions, output: DemoOutput) -> int:
    """Run it in the main thread, and return its exit code.

    1 if a step was missing or late, else 0. Raises DemoError and UsageError with one sentence for the user. In any case
    the daemons and the server are stopped, and their folder is removed.
    """
    forget_surroundings(os.environ)
    with (
        Interrupt() as interrupt,
        held_port(options.http_port, DEFAULT_HTTP_PORT, "--port") as first,
        held_port(0, 0, "--port") as second,
    ):
        server = Server(note=output.note)
        try:
            output.note("Starting PostgreSQL …")
            server.start()
            with interrupt.allowed():
                fill(server, Options(rows=options.rows or CHAOS_ROWS), None, output)
                with psycopg.connect(server.dsn) as connection:
                    connection.execute(statement("chaos_role", role=ROLE))
            ports = [held.getsockname()[1] for held in (first, second)]
            with _stage(server, ports, output) as stage:
                first.close()
                second.close()
                for daemon in stage.daemons:
                    daemon.start()
                return _run(stage, interrupt, options, output)
        except KeyboardInterrupt:
            return 0
        except psycopg.Error as error:
            raise DemoError(f"The demo cannot go on: {error.diag.message_primary or error}") from error
        finally:
            server.stop()
            output.note("Stopped; nothing is left.")


def _run(stage: "_Stage", interrupt: Interrupt, options: ChaosOptions, output: DemoOutput) -> int:
    """Break until the time is over or somebody interrupts, and tell the score."""
    seed = secrets.randbelow(_SEEDS) if options.seed is None else options.seed
    output.say(f"seed     {seed}, the order of what breaks")
    output.say("Ctrl-C   stops it and removes everything")

    def wait(seconds: float) -> None:
        with interrupt.allowed():
            time.sleep(seconds)

    show = Show(stage.daemons, stage.inbox, stage.breaker, say=output.say, wait=wait)
    with suppress(KeyboardInterrupt):
        show.run(breaks(seed, VIEWS), options.minutes)
    if not show.ended:
        return 0
    output.table(report.COLUMNS, report.rows(show.ended))
    output.say(report.verdict(show.ended))
    return 0 if cases.score(show.ended).perfect else _EXIT_MISSED


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the breaks happen to."""

    daemons: list[Daemon]
    inbox: Inbox
    breaker: Breaker


@contextmanager
def _stage(server: Server, ports: list[int], output: DemoOutput) -> Iterator[_Stage]:
    """Prepare receiver, live actions and daemons, which the caller starts. Everything ends with the block."""
    inbox = Inbox()
    live = Live(server.dsn, make_world(SEED), SEED)
    daemons = [Daemon(_place(server, *one, inbox.url)) for one in zip(REPLICAS, ports, strict=True)]
    breaker = Breaker(server, {daemon.place.replica: daemon for daemon in daemons})
    try:
        inbox.start()
        live.start()
        first, second = (daemon.place for daemon in daemons)
        output.say(where_to_look(server, first.port, first.file, warehouse=False))
        output.say(f"second   http://{HOST}:{second.port}/")
        output.say(f"logs     {shlex.join(['tail', '-f', str(first.log), str(second.log)])}")
        yield _Stage(daemons, inbox, breaker)
    finally:
        breaker.close()
        for daemon in daemons:
            daemon.ask_to_stop()
        for daemon in daemons:
            daemon.close()
        live.stop()
        inbox.stop()


def _place(server: Server, replica: str, port: int, receiver_url: str) -> Place:
    """Write a daemon's configuration into the demo's folder. Other commands read the first one's."""
    file = server.folder / (CONFIGURATION if replica == REPLICAS[0] else f"{replica}.toml")
    file.touch(0o600)
    file.write_text(as_toml(settings(server.dsn, replica, port, receiver_url)))
    return Place(replica, file, port, server.folder / f"{replica}.log")
