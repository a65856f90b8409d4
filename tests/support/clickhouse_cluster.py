"""Two shards of two replicas with a ZooKeeper, on this machine: started from what is in `deploy/clickhouse`.

Needs Debian's clickhouse-server (18.16) and zookeeper (3.8). What that server cannot read of the files is left out:
TLS, the cluster's secret, and rights. Each server's ports lead through a relay that a test can freeze or slow down.
"""

import hashlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest

from analytics_refreshd.core.warehouse import CELLS
from tests.support.clickhouse_old import OldServer
from tests.support.proxy import Proxy

_DEPLOYED = Path(__file__).parents[2] / "deploy" / "clickhouse"
_PROGRAM = shutil.which("clickhouse-server") or "/usr/bin/clickhouse-server"
_ZOOKEEPER = Path("/usr/share/zookeeper/bin/zkServer.sh")
DAEMON, PASSWORD = "analytics_daemon", "warehouse"
_SECONDS = 120.0

needs_cluster = pytest.mark.skipif(
    not (Path(_PROGRAM).exists() and _ZOOKEEPER.exists()),
    reason="Debian's clickhouse-server and zookeeper are not installed: .ci/nightly installs them",
)

_SERVER = """<clickhouse>
    <logger><level>warning</level><log>{folder}/log</log><errorlog>{folder}/errors</errorlog></logger>
    <path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path>
    <users_config>users.xml</users_config>
    <default_profile>default</default_profile><default_database>default</default_database>
    <listen_host>{host}</listen_host>
    <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port><interserver_http_port>{interserver}</interserver_http_port>
    <interserver_http_host>127.0.0.1</interserver_http_host>
    <mark_cache_size>67108864</mark_cache_size>
    <distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>
</clickhouse>
"""
_USERS = """<clickhouse>
    <profiles><default/></profiles>
    <users><default>
        <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    </default></users>
    <quotas><default/></quotas>
</clickhouse>
"""


class Relay(Proxy):
    """A relay for servers that say that their request is over by closing their half of the connection."""

    def _relay(self, source: socket.socket, target: socket.socket, requests: bool) -> None:
        with suppress(OSError, ValueError):
            while data := source.recv(65536):
                if requests:
                    self.on_request(data)
                self._moving.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class Node:
    """One server. What other servers say to it passes `native` (questions) and `parts` (what replicas fetch)."""

    def __init__(self, shard: int, replica: str, host: str, folder: Path) -> None:
        self.shard, self.replica, self.host, self.folder = shard, replica, host, folder
        self.native, self.parts = Relay((host, 0)), Relay((host, 0))
        for proxy in (self.native, self.parts):
            proxy.target = (host, proxy.port)
        with socket.create_server((host, 0)) as free:
            self.http = free.getsockname()[1]
        self.old = OldServer((host, self.http))
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}

    def write(self, nodes: "list[Node]", zookeeper: int) -> None:
        """Write its configuration from the deployed one."""
        for name in ("config.d", "users.d", "data", "tmp"):
            (self.folder / name).mkdir(parents=True)
        ports = {"http": self.http, "tcp": self.native.port, "interserver": self.parts.port}
        (self.folder / "config.xml").write_text(_SERVER.format(folder=self.folder, host=self.host, **ports))
        (self.folder / "users.xml").write_text(_USERS)
        _write(_cluster(nodes, zookeeper), self.folder / "config.d" / "analytics-cluster.xml")
        macros = _deployed("config.d/macros.xml")
        _element(macros, "macros/shard").text = str(self.shard)
        _element(macros, "macros/replica").text = self.replica
        _write(macros, self.folder / "config.d" / "macros.xml")
        users = _deployed("users.d/analytics.xml")
        for address in users.iter("ip"):
            address.text = "::/0"
        digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
        # a server that lacks the password of any of its users does not start
        named = (each.get("from_env") for each in users.iter())
        self._environment = {"TZ": "UTC", **{variable: digest for variable in named if variable}}
        _write(users, self.folder / "users.d" / "analytics.xml")

    def start(self) -> None:
        """Start it."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [_PROGRAM, f"--config-file={self.folder / 'config.xml'}"],
                stdout=output, stderr=output, cwd=self.folder, env=self._environment,
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it answers. Fails at once where it has ended."""

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"{self.replica} ended: {(self.folder / 'errors').read_text()[-2000:]}"
            return self.ask("select 1") == "1\n"

        _until(answers, f"{self.replica} does not answer: {self.folder / 'errors'}")

    @property
    def runs(self) -> bool:
        """Whether it was started and not killed."""
        return self._process is not None

    def sync(self) -> None:
        """Wait until its cells are those of the other replica; 18.16 does not come to an end with exchanged tables."""
        for table in (*CELLS, "deltas", "batches", "epochs"):
            try:
                # 18.16 waits without an end, whatever receive_timeout says
                self.ask(f"system sync replica analytics.{table}")
            except TimeoutError:
                what = f"select type, num_tries, last_exception from system.replication_queue where table = '{table}'"
                raise AssertionError(f"{self.replica} waits for parts of {table}: {self.ask(what)}") from None

    def kill(self) -> None:
        """End it at once, as a machine that lost power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, query: str, settings: Mapping[str, str] | None = None, seconds: float = 60.0) -> str:
        """Return what it answers itself. Raises TimeoutError."""
        words = urlencode(settings or {})
        request = urllib.request.Request(f"http://{self.host}:{self.http}/?{words}", query.encode())
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return str(answer.read().decode())


def led(replicas: list[Node]) -> None:
    """Wait until each table of a shard has a leader: 18.16 refuses to drop a partition before."""
    query = "select count(), sum(is_leader) from system.replicas"

    def holds() -> bool:
        running = [replica for replica in replicas if replica.runs]
        counts = [[int(number) for number in replica.ask(query).split()] for replica in running]
        return sum(leads for _, leads in counts) == counts[0][0]

    _until(holds, "some table has no leader")


def _until(holds: Callable[[], bool], failure: str) -> None:
    end = time.monotonic() + _SECONDS
    while True:
        with suppress(OSError, urllib.error.URLError):
            if holds():
                return
        assert time.monotonic() < end, failure
        time.sleep(0.1)


def _deployed(name: str) -> ElementTree.Element:
    return ElementTree.parse(_DEPLOYED / name).getroot()  # noqa: S314 - our own


def _element(root: ElementTree.Element, path: str) -> ElementTree.Element:
    found = root.find(path)
    assert found is not None, path
    return found


def _write(root: ElementTree.Element, path: Path) -> None:
    path.write_bytes(ElementTree.tostring(root))


def _cluster(nodes: list[Node], zookeeper: int) -> ElementTree.Element:
    """Return the deployed cluster with this machine's ports, without TLS and what else 18.16 does not know."""
    root = _deployed("config.d/analytics-cluster.xml")
    cluster = _element(root, "remote_servers/analytics")
    cluster.remove(_element(cluster, "secret"))
    replicas = cluster.findall("shard/replica")
    assert len(replicas) == len(nodes)
    for replica, node in zip(replicas, nodes, strict=True):
        _element(replica, "host").text, _element(replica, "port").text = "127.0.0.1", str(node.native.port)
        replica.remove(_element(replica, "secure"))
    keepers = _element(root, "zookeeper")
    for keeper in keepers.findall("node")[1:]:
        keepers.remove(keeper)
    keeper = _element(keepers, "node")
    _element(keeper, "host").text, _element(keeper, "port").text = "127.0.0.1", str(zookeeper)
    keeper.remove(_element(keeper, "secure"))
    # what a killed server held is free after this
    ElementTree.SubElement(keepers, "session_timeout_ms").text = "5000"
    for name in ("https_port", "tcp_port_secure", "interserver_https_port", "http_port", "tcp_port",
                 "interserver_http_port", "openSSL"):  # fmt: skip
        root.remove(_element(root, name))
    return root


@contextmanager
def _zookeeper(folder: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = folder / "zoo.cfg"
    configuration.write_text(
        f"tickTime=2000\ndataDir={folder}/zookeeper\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
        "admin.enableServer=false\n4lw.commands.whitelist=srvr\n"
    )
    with (folder / "zookeeper.output").open("ab") as output:
        process = subprocess.Popen(
            [str(_ZOOKEEPER), "start-foreground", str(configuration)],
            stdout=output, stderr=output, cwd=folder, env={"PATH": "/usr/bin:/bin", "ZOO_LOG_DIR": str(folder)},
        )  # fmt: skip
    try:
        # it accepts connections before it answers, and a server of 18.16 that gets no answer crashes
        _until(lambda: b"Mode" in _said(port), "ZooKeeper does not answer")
        yield port
    finally:
        process.kill()
        process.wait()


def _said(zookeeper: int) -> bytes:
    with socket.create_connection(("127.0.0.1", zookeeper), 5) as opened:
        opened.sendall(b"srvr")
        return opened.recv(4096)


@contextmanager
def cluster(folder: Path) -> Iterator[list[Node]]:
    """Start ZooKeeper and the four servers: both replicas of the first shard, then those of the second."""
    with ExitStack() as stack:
        zookeeper = stack.enter_context(_zookeeper(folder))
        nodes = [
            Node(shard, f"clickhouse-{shard}{letter}", f"127.0.0.{10 * shard + place}", folder / f"{shard}{letter}")
            for shard in (1, 2)
            for place, letter in enumerate("ab")
        ]
        for node in nodes:
            node.write(nodes, zookeeper)
            for relay in (node.native, node.parts):
                stack.enter_context(relay)
            stack.enter_context(node.old.serving())
            stack.callback(node.kill)
            node.start()
        for node in nodes:
            node.wait()
        yield nodes
