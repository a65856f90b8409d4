"""Every file that the configuration names is read to a limit, and only if it is a file."""

import os
import socket
import sys
import tracemalloc
from pathlib import Path

import pytest

from analytics_refreshd.config import load
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.files import SMALL_BYTES, decode_text, list_files, read_small
from analytics_refreshd.notify.request import BadRequest, read_secret
from analytics_refreshd.postgres.catalogue.definition import QueryFileError
from analytics_refreshd.postgres.catalogue.files import Catalogue

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A FIFO that nobody writes to."""
    path = tmp_path / "fifo.sql"
    os.mkfifo(path)
    return path


def test_links_are_followed(tmp_path: Path) -> None:
    """Kubernetes mounts a secret as a link to a file in a folder that is a link."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "password").write_bytes(b"hunter2")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "password").symlink_to("..data/password")
    assert read_small(tmp_path / "password") == b"hunter2"


def test_a_file_is_read_to_the_limit(tmp_path: Path) -> None:
    """A file of the limit is taken, a longer one is refused, however long it is."""
    path = tmp_path / "long"
    path.write_bytes(b"x" * SMALL_BYTES)
    assert len(read_small(path)) == SMALL_BYTES
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match="it is over 64 KiB"):
            read_small(path)
        assert tracemalloc.get_traced_memory()[1] < 10 * SMALL_BYTES
    finally:
        tracemalloc.stop()


def test_what_is_no_file_is_told(tmp_path: Path, fifo: Path) -> None:
    """None of them is waited for, and none is read."""
    # a socket's path must be short
    place = os.open(tmp_path, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{place}/s")
        os.close(place)
        for path, kind in (
            (fifo, "a FIFO"),
            (tmp_path, "a directory"),
            (tmp_path / "s", "a socket"),
            (Path("/dev/zero"), "a device"),
        ):
            with pytest.raises(OSError, match=f"it is {kind}, not a regular file"):
                read_small(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a FIFO that is opened without waiting")
def test_a_fifo_that_comes_in_a_file_s_place_is_not_waited_for(
    tmp_path: Path, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the opening somebody may exchange it."""
    regular = tmp_path / "regular"
    regular.write_text("x")
    found = regular.stat()
    monkeypatch.setattr(Path, "stat", lambda _path: found)
    with pytest.raises(OSError, match="it is a FIFO"):
        read_small(fifo)


def problems(configuration: dict[str, object] | Path) -> list[str]:
    """What is said about it."""
    with pytest.raises(ConfigError) as caught:
        load(configuration)
    return list(caught.value.problems)


def test_the_configuration_reads_files_only(fifo: Path) -> None:
    """Itself, the password and each receiver's secrets: one sentence each."""
    told = "cannot be read: it is a FIFO, not a regular file"
    assert problems(fifo) == [f"the configuration file {fifo} {told}"]
    database = {"url": "postgresql://u@h/d"}
    assert problems({"database": {**database, "password_file": str(fifo)}}) == [f"database.password_file {told}"]
    for kind, keys in (
        ("webhook", ("secret_file", "bearer_token_file")),
        ("slack", ("url_file",)),
        ("pagerduty", ("routing_key_file",)),
        ("alertmanager", ("bearer_token_file",)),
    ):
        for key in keys:
            receiver = {"type": kind, key: str(fifo)}
            if kind in ("webhook", "alertmanager"):
                receiver["url"] = "http://h"
            assert problems({"database": database, "receivers": {"ops": receiver}}) == [f"receivers.ops.{key} {told}"]


def test_secrets_and_queries_are_read_from_files_only(tmp_path: Path, fifo: Path) -> None:
    """Also later, when the file has become something else."""
    with pytest.raises(BadRequest, match="the file with its token cannot be read: it is a FIFO, not a regular file"):
        read_secret(fifo, "token")
    with pytest.raises(QueryFileError, match=r"fifo\.sql:1: cannot be read: it is a FIFO, not a regular file"):
        Catalogue.load(tmp_path)


@pytest.mark.fault
def test_L21_a_name_that_no_file_can_have_is_told() -> None:
    """TOML can hold a NUL; the system's calls would refuse it with an error that names nothing."""
    with pytest.raises(OSError, match="its name holds a NUL"):
        read_small(Path("a\0b"))
    with pytest.raises(OSError, match="its name holds a NUL"):
        list_files(Path("a\0b"), ".sql")


@pytest.mark.fault
def test_L21_a_folder_is_listed_or_refused(tmp_path: Path) -> None:
    """What Path.glob leaves out without a word is an error here; hidden files, as editors leave them, are left out."""
    for name in ("b.sql", "a.sql", ".a.sql", "a.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_files(tmp_path, ".sql")] == ["a.sql", "b.sql"]
    with pytest.raises(NotADirectoryError):
        list_files(tmp_path / "a.sql", ".sql")
    assert decode_text(b"\xef\xbb\xbfa") == decode_text(b"a") == "a"
