"""How connections are made, refused, and kept from saying too much."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.errors import ConfigError, DatabaseFault, ErrorClass
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.connection import session_settings
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.settings import ConnectionSettings, application_name, default_sslmode
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from tests.support.adapters import address, connector, session, through
from tests.support.postgres import Server, free_port
from tests.support.proxy import Proxy, TlsProxy
from tests.support.waiting import eventually

CANARY = "CANARY-7f3a"
_RUN_ID = "0d15fed9-98ac-4ea2-a444-c127a1789225"


def refused(made: Connector) -> DatabaseFault:
    """The fault of a connection that must not come about."""
    with pytest.raises(DatabaseFault) as caught:
        made.connect("status", Profile()).close()
    assert caught.value.error_class is ErrorClass.CONNECT
    assert caught.value.__cause__ is None
    assert "\n" not in caught.value.message
    return caught.value


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    """A server that asks role `scram` for a password by SCRAM, `clear` for one in clear text, and refuses `nobody`."""
    server = Server(settings={"max_connections": "12", "superuser_reserved_connections": "3"})
    server.initdb()
    rules = [
        "host all scram 127.0.0.1/32 scram-sha-256",
        "host all clear 127.0.0.1/32 password",
        "host all nobody 127.0.0.1/32 reject",
        "host all all 127.0.0.1/32 trust",
    ]
    (server.data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
    try:
        server.start()
        with server.connect() as admin:
            admin.execute(f"create role scram login password '{CANARY}'")
            admin.execute(f"create role clear login password '{CANARY}'")
            admin.execute("create role nobody login")
            admin.execute("create role limited login connection limit 0")
        yield server
    finally:
        server.destroy()


def test_the_session_is_as_it_must_be(dsn: str) -> None:
    """A session resolves names in pg_catalog, counts time in UTC, and has its limits, keepalives and name."""
    with connector(dsn, name="shop").connect("status", Profile(statement_timeout_seconds=7.5)) as opened:

        def show(name: str) -> str:
            row = opened.execute("select current_setting(%s)", (name,)).fetchone()
            return str(row[0]) if row else ""

        assert show("search_path") == "pg_catalog, pg_temp"
        assert show("TimeZone") == "UTC"
        assert show("statement_timeout") == "7500ms"
        assert show("lock_timeout") == "5s"
        assert show("idle_in_transaction_session_timeout") == "30s"
        assert show("client_connection_check_interval") == "5s"
        assert show("application_name") == "analytics-refreshd/shop/status"
        with socket.socket(fileno=os.dup(opened.pgconn.socket)) as plug:
            assert plug.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
            assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000


@pytest.mark.fault
def test_H14_a_hostile_search_path_of_the_role(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """What the role or the database set for search_path and time zone does not count."""
    connection.execute(
        "create schema hostile; create table hostile.abused (by text);"
        " create function hostile.set_config(text, text, boolean) returns text language sql as"
        " $$ insert into hostile.abused values ($1) returning $2 $$;"
        " create function hostile.current_setting(text) returns text language sql as"
        " $$ insert into hostile.abused values ($1) returning $1 $$"
    )
    with session(dsn) as shared:
        database = shared.run(lambda opened: opened.execute("select current_database()").fetchone())
        assert database is not None
        for setting in ("search_path = hostile, pg_catalog", "timezone = 'Asia/Kolkata'", "statement_timeout = '1h'"):
            connection.execute(f"alter database {database[0]} set {setting}")
    with connector(dsn).connect("status", Profile()) as opened:
        assert opened.execute("show search_path").fetchone() == ("pg_catalog, pg_temp",)
        assert opened.execute("show timezone").fetchone() == ("UTC",)
    assert connection.execute("select by from hostile.abused").fetchall() == []


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("shop", "status", "analytics-refreshd/shop/status"),
        ("a-service-with-a-very-long-name", _RUN_ID, f"analytics-refreshd/a-servi/{_RUN_ID}"),
        ("a/b\nc\u00e9", "leader", "analytics-refreshd/a_b_c_/leader"),
    ],
)
def test_application_name_fits(name: str, label: str, expected: str) -> None:
    """The name is cut so that the label survives the server's 63 bytes, and holds nothing that the server changes."""
    assert application_name(name, label) == expected
    assert len(expected) <= 63


@pytest.mark.parametrize(
    ("parameters", "mode"),
    [
        ({}, "prefer"),
        ({"host": "localhost"}, "prefer"),
        ({"host": "127.0.0.1,::1"}, "prefer"),
        ({"host": "/run/postgresql"}, "prefer"),
        ({"host": "db.example"}, "verify-full"),
        ({"host": "localhost,db.example"}, "verify-full"),
        ({"hostaddr": "10.0.0.1"}, "verify-full"),
        ({"service": "analytics"}, "verify-full"),
    ],
)
def test_tls_is_the_default_beyond_this_machine(
    parameters: dict[str, str | int], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an sslmode, every host that is not this machine gets verify-full."""
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert default_sslmode(parameters) == mode
    assert ConnectionSettings("x", parameters=parameters).libpq()["sslmode"] == mode
    assert ConnectionSettings("x", url="sslmode=disable", parameters=parameters).libpq()["sslmode"] == "disable"


@pytest.mark.fault
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}@x@h/db",
        f"postgresql://u:{CANARY}%zz@h/db",
        f"host=h pass={CANARY}",
        f"postgresql://u:{CANARY}@h/db?sslmode=banana",
        f"postgresql://u:{CANARY}@h/db?port=99999",
    ],
)
def test_E03_malformed_urls_are_not_repeated(url: str) -> None:
    """A malformed URL is refused in our words: libpq's repeat the password."""
    with pytest.raises(ConfigError) as caught:
        ConnectionSettings("x", url=url).libpq()
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "CANARY" not in repr(ConnectionSettings("x", url=url))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"url": "postgresql://u@h/db", "parameters": {"host": "a@b"}}, "host has an @"),
        ({"url": "postgresql://u@h:0/db"}, "url has a port that is not a number"),
        ({"url": "postgresql://h/db", "parameters": {"sslmode": "certain"}}, "sslmode has an sslmode that does not"),
        ({"url": "postgresql:///db?keepalives=-0"}, "url has keepalives=0"),
        ({"url": "host=/tmp,@socket,h port=5432,,6000 sslmode=require keepalives=1"}, None),
    ],
)
def test_each_problem_names_the_key(given: dict[str, Any], problem: str | None) -> None:
    """What came by a key of its own is told of that key; an abstract socket may begin with an @."""
    settings = ConnectionSettings("x", **given)
    assert [text[: len(problem or "")] for text in settings.problems()] == ([problem] if problem else [])


@pytest.mark.fault
@pytest.mark.parametrize("zero", ["0", "00"])
def test_B02_keepalives_off(zero: str) -> None:
    """keepalives=0 would silently turn tcp_user_timeout off, and is refused, however libpq is told of it."""
    with pytest.raises(ConfigError, match="keepalives=0"):
        ConnectionSettings("x", url=f"keepalives={zero}").libpq()


@pytest.mark.slow
@pytest.mark.fault
def test_H01_no_failing_connect_shows_the_password(strict_server: Server, tmp_path: Path) -> None:
    """Whatever goes wrong, the password is in no message and no representation."""
    good = f"postgresql://scram:{CANARY}@127.0.0.1:{strict_server.port}/postgres"
    urls = [
        good.replace(CANARY, CANARY + "-wrong"),
        good + f"?options=-c%20{CANARY}%3D1",
        good.replace("/postgres", "/absent"),
        good.replace(str(strict_server.port), str(free_port())),
        good.replace("127.0.0.1", f"{CANARY}.invalid"),
        good + "?sslmode=require",
        good.replace("scram", "nobody"),
        good.replace("scram", "limited"),
    ]
    for url in urls:
        made = connector(url, connect_timeout_seconds=2)
        fault = refused(made)
        assert CANARY not in fault.message, url
        assert CANARY not in repr(fault), url
        assert CANARY not in repr(made.settings), url


@pytest.mark.fault
def test_E06_a_rotated_password_is_read_anew(strict_server: Server, tmp_path: Path) -> None:
    """The password file is read for each connection: after a rotation the next one works without a restart."""
    secret = tmp_path / "password"
    secret.write_text(CANARY + "-old\n")
    made = connector(strict_server.dsn(user="scram"), password_file=secret)
    fault = refused(made)
    assert "password authentication failed" in fault.message
    assert "check [database] user and the password" in fault.message
    secret.write_text(CANARY + "\n")
    made.connect("status", Profile()).close()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the password file"), ("", "is empty"), ("\n", "is empty"), ("a\nb\n", "more than one line")],
)
def test_E05_a_password_file_that_cannot_be_used(tmp_path: Path, content: str | None, message: str) -> None:
    """A missing, empty or many-lined password file is a refusal, and no attempt with an empty password."""
    secret = tmp_path / "password"
    if content is not None:
        secret.write_text(content)
    assert message in refused(connector(f"postgresql://u@127.0.0.1:{free_port()}/x", password_file=secret)).message


@pytest.mark.fault
@pytest.mark.timeout(20)
def test_E05_a_password_file_that_is_no_file(tmp_path: Path) -> None:
    """A FIFO that nobody writes to does not hang, and a device without an end does not fill the memory."""
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to("/dev/zero")
    for secret, kind in ((fifo, "a FIFO"), (link, "a device"), (tmp_path, "a directory")):
        made = connector(f"postgresql://u@127.0.0.1:{free_port()}/x", password_file=secret)
        assert refused(made).message == f"cannot read the password file {secret}: it is {kind}, not a regular file"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exec yes", "prints more than 64 KiB"),
        ("echo nothing >&2; exit 3", "failed with exit code 3"),
        ("true", "is empty"),
        ("sleep 60", "did not end within 0.3 s"),
        ("printf '\\377\\376'", "is not UTF-8 text"),
    ],
)
def test_a_password_command_that_cannot_be_used(script: str, message: str) -> None:
    """A command that fails, prints nothing, or hangs is a refusal that shows none of its output."""
    made = connector(
        f"postgresql://u@127.0.0.1:{free_port()}/x",
        password_command=("sh", "-c", script),
        password_command_timeout_seconds=0.3,
    )
    assert message in refused(made).message


def test_a_password_command_runs_for_each_connection(strict_server: Server, tmp_path: Path) -> None:
    """The command is run at every connect, so that a token of 15 minutes is never stale."""
    script = f"echo run >> {tmp_path / 'runs'}; echo {CANARY}"
    made = connector(strict_server.dsn(user="scram"), password_command=("sh", "-c", script))
    for _ in range(2):
        made.connect("status", Profile()).close()
    assert (tmp_path / "runs").read_text().split() == ["run", "run"]


def test_a_missing_password_command() -> None:
    """A program that is not there is named."""
    made = connector("postgresql://u@127.0.0.1/x", password_command=("/no/such/program",))
    assert "(/no/such/program) cannot be started: No such file" in refused(made).message


@pytest.mark.fault
def test_H11_no_password_in_clear_text(strict_server: Server) -> None:
    """A server that asks for the password in clear text over an unencrypted connection does not get it."""
    fault = refused(connector(f"postgresql://clear:{CANARY}@127.0.0.1:{strict_server.port}/postgres"))
    assert "scram-sha-256" in fault.message
    assert CANARY not in fault.message


@pytest.mark.fault
def test_A22_too_many_connections(strict_server: Server) -> None:
    """A server that is full, or lets this role in no more, is out of reach, and no more than that."""
    limited = refused(connector(strict_server.dsn(user="limited"))).message
    assert "too many connections" in limited
    assert "raise that limit" in limited
    held: list[psycopg.Connection[Any]] = []
    try:
        with suppress(psycopg.OperationalError):
            while len(held) < 20:
                held.append(psycopg.connect(strict_server.dsn(user="scram") + f"?password={CANARY}"))
        assert len(held) < 20
        full = refused(connector(f"postgresql://scram:{CANARY}@127.0.0.1:{strict_server.port}/postgres")).message
        assert "raise its max_connections" in full
        assert f"port {strict_server.port}" in full
    finally:
        for each in held:
            each.close()


def test_who_cannot_connect_is_told_what_to_do(strict_server: Server) -> None:
    """A missing right, role, database or LOGIN is told with server and port, and with what mends it."""
    with strict_server.connect() as admin:
        for statement in ('create database "of x"', 'revoke connect on database "of x" from public'):
            admin.execute(statement)
        admin.execute('create role "no login"; create role "a ""b""" login')
    cases = {
        ('a "b"', "of x"): 'GRANT CONNECT ON DATABASE "of x" TO "a ""b""";',
        ("absent", "postgres"): "deploy/sql/grants.sql",
        ('a "b"', "absent"): "set [database] dbname",
        ("no login", "postgres"): 'ALTER ROLE "no login" LOGIN;',
    }
    base = strict_server.dsn()
    for (user, database), remedy in cases.items():
        message = refused(connector(psycopg.conninfo.make_conninfo(base, user=user, dbname=database))).message
        assert remedy in message
        assert f"port {strict_server.port} failed" in message
    with strict_server.connect() as admin:
        admin.execute(cases['a "b"', "of x"])
    connector(psycopg.conninfo.make_conninfo(base, user='a "b"', dbname="of x")).connect("x", Profile()).close()


@pytest.mark.fault
@pytest.mark.slow
def test_B05_a_connect_that_hangs(dsn: str) -> None:
    """A server that accepts and never speaks is given up at the limit; the late connection is not kept."""
    with Proxy(address(dsn)) as proxy, ThreadPoolExecutor(1) as thread:
        proxy.freeze()
        try:
            fault = thread.submit(refused, connector(through(dsn, proxy.port), connect_timeout_seconds=2)).result(20)
        finally:
            proxy.thaw()
        assert "imeout" in fault.message or "within" in fault.message


@pytest.mark.slow
def test_a_connect_that_times_out_names_where() -> None:
    """psycopg's own time limit names no server: ours adds those that are configured, and what to look at."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        port = deaf.getsockname()[1]
        message = refused(connector(f"postgresql://x@127.0.0.1:{port}/x", connect_timeout_seconds=2)).message
    assert message.startswith(f"127.0.0.1:{port}: connection timeout expired: check [database] host and port")


@pytest.mark.slow
@pytest.mark.fault
def test_B06_a_resolver_that_hangs(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name look-up that hangs does not hold the caller, and a few of them are all that is ever started."""
    release = threading.Event()
    asked: list[str] = []

    def hang(host: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        release.wait(60)
        raise socket.gaierror(-2, "Name or service not known")

    made = connector("postgresql://u@slow.example/x?sslmode=disable", connect_timeout_seconds=0)
    monkeypatch.setattr(ConnectionSettings, "longest_connect_seconds", lambda self: 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        for _ in range(4):
            assert "no connection within 0.2 s" in refused(made).message
        assert "still hang" in refused(made).message
        assert asked == ["slow.example"] * 4
    finally:
        release.set()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "connect"])
    assert "failed to resolve host" in refused(made).message


@pytest.mark.fault
def test_B06_a_host_that_does_not_exist() -> None:
    """An unknown host says what to look at."""
    fault = refused(connector("postgresql://u@no-such-host.invalid/x?sslmode=disable"))
    assert "no-such-host.invalid" in fault.message
    assert "name resolution" in fault.message


@pytest.mark.fault
def test_B07_the_name_is_resolved_each_time(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fail-over by DNS the next connection goes to the new address."""
    real = socket.getaddrinfo
    answers = ["127.0.0.2", "127.0.0.1"]

    def changing(host: str, *args: Any, **kwargs: Any) -> Any:
        return real(answers.pop(0) if host == "db.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    made = connector(make_conninfo(dsn, host="db.example", sslmode="disable"))
    refused(made)
    made.connect("status", Profile()).close()
    assert answers == []


@pytest.mark.fault
def test_B08_many_hosts(dsn: str) -> None:
    """Of several hosts the first that is a writable primary is taken; the limit covers all of them."""
    host, port = address(dsn)
    url = make_conninfo(dsn, host=f"{host},{host}", port=f"{free_port()},{port}")
    made = connector(url)
    assert made.settings.longest_connect_seconds() == 11.0
    with made.connect("status", Profile()) as opened:
        assert opened.info.port == port


def test_A22_a_session_that_the_server_ended_is_not_counted(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """An idle one tells only the kernel that it ended: nobody may use it again for as long as an outage lasts."""
    made = connector(dsn)
    opened = [made.connect("one", Profile()), made.connect("other", Profile())]
    assert made.open_connections == 2
    connection.execute("select pg_terminate_backend(%s, 5000)", (opened[0].info.backend_pid,))
    eventually(lambda: made.open_connections == 1)
    assert not opened[0].closed
    opened[1].close()
    assert made.open_connections == 0
    opened[0].close()


def test_stop_frees_whoever_connects(dsn: str) -> None:
    """At shutdown a thread that waits for a connection is freed at once, and nobody starts another."""
    with Proxy(address(dsn)) as proxy:
        proxy.freeze()
        made = connector(through(dsn, proxy.port), connect_timeout_seconds=60)
        faults: list[DatabaseFault] = []
        thread = threading.Thread(target=lambda: faults.append(refused(made)))
        thread.start()
        eventually(lambda: proxy.connections)
        made.stop()
        thread.join(5)
        assert [fault.message for fault in faults] == ["the daemon is stopping"]
        assert refused(made).message == "the daemon is stopping"


def test_settings_that_do_not_last_are_noticed(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When what was set is not what is read back, the connection is refused and the pooler named."""
    real = blocks("connection/connection.sql")
    asked = "pg_catalog.current_setting(s.name, true) as value"
    assert asked in real["read_back"]
    other = f"case s.name when 'TimeZone' then 'Asia/Kolkata' else {asked.removesuffix(' as value')} end as value"
    elsewhere = {**real, "read_back": real["read_back"].replace(asked, other)}
    monkeypatch.setattr(session_settings, "blocks", lambda file: elsewhere)
    with pytest.raises(DatabaseFault, match=r"\(TimeZone\).*direct connection") as caught:
        connector(dsn).connect("status", Profile())
    assert caught.value.reason is Reason.CONTRACT


@pytest.mark.slow
def test_a_shared_session_ends_a_silent_statement(dsn: str) -> None:
    """A statement that the server never answers costs the shared session its limit, and the connection."""
    with Proxy(address(dsn)) as proxy:
        shared = Session(connector(through(dsn, proxy.port)))
        shared.run(lambda opened: opened.execute("select 1"))
        proxy.freeze()
        with pytest.raises(DatabaseFault) as caught:
            shared.run(lambda opened: opened.execute("select 1"), seconds=0.2)
        assert caught.value.reason is Reason.TIMEOUT
        proxy.thaw()
        shared.run(lambda opened: opened.execute("select 1"))
        assert shared.generation == 2
        shared.close()


@pytest.mark.fault
@pytest.mark.slow
def test_L16_all_that_a_thread_asks_ends_within_its_limit(dsn: str) -> None:
    """A server that hangs costs an evaluation its limit once, and not each reading its own; others are not limited."""
    with Proxy(address(dsn)) as proxy:
        shared = Session(connector(through(dsn, proxy.port)))
        shared.run(lambda opened: opened.execute("select 1"))
        proxy.freeze()
        began, faults = time.monotonic(), []
        with shared.within(1.0):
            for _ in range(5):
                with pytest.raises(DatabaseFault) as caught:
                    shared.run(lambda opened: opened.execute("select 1"))
                faults.append(caught.value)
        # five times 22 s without the limit
        assert time.monotonic() - began < 20.0
        assert {fault.reason for fault in faults} == {Reason.TIMEOUT}
        assert not any(fault.error_class.away for fault in faults)
        proxy.thaw()
        shared.run(lambda opened: opened.execute("select pg_sleep(1.2)"))
        with shared.within(1.0), shared.within(60.0), pytest.raises(DatabaseFault) as caught:
            shared.run(lambda opened: opened.execute("select pg_sleep(50)"), seconds=50.0)
        assert caught.value.reason is Reason.TIMEOUT
        shared.close()


def test_a_busy_session_says_so(dsn: str) -> None:
    """Who finds the shared session busy for too long is told so, instead of waiting for ever."""
    with session(dsn) as shared:
        entered, leave = threading.Event(), threading.Event()

        def work(opened: object) -> None:
            entered.set()
            leave.wait(10)

        thread = threading.Thread(target=lambda: shared.run(work))
        thread.start()
        assert entered.wait(10)
        with pytest.raises(DatabaseFault, match="busy") as caught:
            shared.run(lambda opened: None, wait_seconds=0.1)
        leave.set()
        thread.join()
    assert caught.value.error_class is ErrorClass.CONTENTION


@pytest.mark.slow
def test_a_closed_session_frees_its_thread(dsn: str) -> None:
    """Closing the shared session from another thread ends the statement under way there, and it is not repeated."""
    with session(dsn) as shared:
        faults: list[BaseException] = []

        def work() -> None:
            try:
                shared.run(lambda opened: opened.execute("select pg_sleep(60)"), seconds=100)
            except DatabaseFault as fault:
                faults.append(fault)

        thread = threading.Thread(target=work)
        thread.start()
        eventually(lambda: shared._connection is not None and shared._connection.pgconn.transaction_status == 1)
        shared.close()
        thread.join(5)
        assert len(faults) == 1
        assert shared.generation == 1


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize(
    "statement",
    [
        "select 'secret@person.example'::integer",
        "do $$ begin raise exception using detail = 'secret',"
        ' message = E\'line1\\n{"event":"forged"}\\x1b[31m\'; end $$',
        "do $$ begin raise exception '%', repeat('x ', 2500000); end $$",
    ],
    ids=["H04 personal data", "H05 forged line", "H06 huge"],
)
def test_server_messages_are_redacted(dsn: str, statement: str) -> None:
    """What the server says of an error reaches nobody with data, control characters, DETAIL or megabytes in it."""
    with session(dsn) as shared, pytest.raises(DatabaseFault) as caught:
        shared.run(lambda opened: opened.execute(statement))
    message = caught.value.message
    assert "secret" not in message
    assert message.isprintable()
    assert len(message.encode()) <= 1024
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a certificate of it for localhost, an expired one, and a CA that nobody knows."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "rsa:2048", "-nodes"]
    for name in ("ca", "stranger"):
        openssl(*new, "-x509", "-days", "30", "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    (folder / "san").write_text("subjectAltName=DNS:localhost\n")
    openssl(*new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl(*sign, "-extfile", "san", "-days", "30", "-out", "server.crt")
    openssl(*sign, "-extfile", "san", "-days", "-1", "-out", "expired.crt")
    return folder


@pytest.mark.slow
@pytest.mark.fault
def test_H08_tls_is_not_given_up(dsn: str) -> None:
    """A server without TLS is refused where TLS is asked for."""
    fault = refused(connector(make_conninfo(dsn, sslmode="require")))
    assert "turn TLS on in the server" in fault.message


@pytest.mark.fault
@pytest.mark.parametrize(
    ("host", "certificate", "root", "message"),
    [
        ("localhost", "server.crt", "stranger.crt", "sslrootcert"),
        ("127.0.0.1", "server.crt", "ca.crt", "by the name that the server's certificate bears"),
        ("localhost", "expired.crt", "ca.crt", "expired"),
        ("localhost", "server.crt", "absent.crt", "set [database] sslrootcert"),
    ],
    ids=["wrong CA", "wrong host name", "expired", "no root file"],
)
@pytest.mark.slow
def test_H09_H10_certificates_are_verified(
    dsn: str, certificates: Path, host: str, certificate: str, root: str, message: str
) -> None:
    """A certificate that does not fit is refused, and the refusal says what to do."""
    with TlsProxy(address(dsn), str(certificates / certificate), str(certificates / "server.key")) as proxy:
        url = make_conninfo(
            dsn, host=host, port=proxy.port, sslmode="verify-full", sslrootcert=str(certificates / root)
        )
        assert message in refused(connector(url)).message


@pytest.mark.slow
def test_a_verified_connection_works(dsn: str, certificates: Path) -> None:
    """With the right CA and name a verify-full connection is made, encrypted."""
    with TlsProxy(address(dsn), str(certificates / "server.crt"), str(certificates / "server.key")) as proxy:
        root = str(certificates / "ca.crt")
        url = make_conninfo(dsn, host="localhost", port=proxy.port, sslmode="verify-full", sslrootcert=root)
        with connector(url).connect("status", Profile()) as opened:
            assert opened.pgconn.ssl_in_use


@pytest.mark.fault
def test_L18_a_service_is_connected_to_as_it_says(
    dsn: str, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's verify-full is kept on this machine too, and its host is connected to, whatever PGHOST says."""
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGHOST", "no-such-host.invalid")
    database = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with TlsProxy(address(dsn), str(certificates / "server.crt"), str(certificates / "server.key")) as proxy:
        for root, verified in (("stranger.crt", False), ("ca.crt", True)):
            (tmp_path / "services").write_text(
                f"[app]\nhost=localhost\nport={proxy.port}\ndbname={database}\nuser=postgres\nsslmode=verify-full\n"
                f"sslrootcert={certificates / root}\n"
            )
            if verified:
                with connector("service=app").connect("status", Profile()) as opened:
                    assert opened.pgconn.ssl_in_use
            else:
                assert "sslrootcert" in refused(connector("service=app")).message
