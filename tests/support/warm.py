"""The program in processes of their own, forked from one that has imported it.

To import it takes half a second of CPU, and the suite starts it more than a thousand times. What is about the start
itself (the installed command, variables that Python reads, memory, a part broken beforehand) starts a new interpreter.
"""

import atexit
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import IO

PROGRAM = ["-m", "analytics_refreshd"]
"""What a new interpreter is told to run."""
TELL_AT_ONCE = "from analytics_refreshd.cli import common\ncommon._TELL_SECONDS = 0.0"
"""Python to execute first, so that a command tells at once how far it is, and what it waits for."""
_MAIN = "\nfrom analytics_refreshd.__main__ import main\nraise SystemExit(main())"
_READ_AT_THE_START = ("PYTHON", "PROMETHEUS_", "LC_", "LANG", "TZ", "MALLOC_", "LD_")
_PARTS = ("app", "api", "cli", "config", "core", "incident", "notify", "observe", "postgres")
_REQUEST = struct.Struct("!I")
_STATUS = struct.Struct("!i")


class Process:
    """A forked program, with what the tests use of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], stdout: int, stderr: int, first: str = "") -> None:
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        self._words = words
        self._status, told = os.pipe()
        with open(os.devnull, "rb") as nothing:
            try:
                self.pid = _interpreter().fork([first, *words], env, (nothing.fileno(), stdout, stderr, told))
            finally:
                os.close(told)

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit code."""
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(list(self._words), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def _exit_code(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            ready = select.poll()
            ready.register(self._status, select.POLLIN)
            if ready.poll(None if timeout is None else timeout * 1000):
                told = os.read(self._status, _STATUS.size)
                assert told, "the interpreter that it was forked from is gone"
                os.close(self._status)
                (self.returncode,) = _STATUS.unpack(told)
        return self.returncode


Started = Process | subprocess.Popen[str]


def start(
    words: Sequence[str],
    env: Mapping[str, str],
    program: Sequence[str] | None = None,
    *,
    first: str = "",
    output: bool = False,
) -> Started:
    """Start `analytics-refreshd` with its standard error on a pipe, and its standard output too with `output`.

    In a new interpreter if that is given `program`. `first` is Python that is executed before.
    """
    if program is not None or not _is_warm(env):
        given = ["-c", first + _MAIN] if first else PROGRAM
        return subprocess.Popen(
            [sys.executable, *(program or given), *words],
            env=dict(env),
            stdout=subprocess.PIPE if output else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    err, to_err = os.pipe()
    out, to_out = os.pipe() if output else (-1, os.open(os.devnull, os.O_WRONLY))
    try:
        process = Process(words, env, to_out, to_err, first)
    finally:
        os.close(to_err)
        os.close(to_out)
    process.stderr = os.fdopen(err, encoding="utf-8")
    if output:
        process.stdout = os.fdopen(out, encoding="utf-8")
    return process


@contextmanager
def killed(process: Started) -> Iterator[Started]:
    """Kill it at the end, if it still runs, and close its pipes."""
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def run(
    words: Sequence[str], env: Mapping[str, str], timeout: float = 120.0, *, first: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `analytics-refreshd` to its end; returns what it wrote and its exit code.

    `first` is Python that is executed before.
    """
    command = [sys.executable, *(["-c", first + _MAIN] if first else PROGRAM), *words]
    if not _is_warm(env):
        return subprocess.run(command, env=dict(env), capture_output=True, text=True, timeout=timeout, check=False)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        process = Process(words, env, out.fileno(), err.fileno(), first)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def _is_warm(env: Mapping[str, str]) -> bool:
    """Whether nothing is set otherwise than here that Python or a library reads once, when it starts."""
    names = {name for name in (*env, *os.environ) if name.startswith(_READ_AT_THE_START)}
    return all(env.get(name) == os.environ.get(name) for name in names)


class _Interpreter:
    """The process that has imported the program and forks at request."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        # Python's stream must be made for a pipe: one for a file would seek in the pipe that a forked process gets
        assert self._process.stdout
        self._process.stdout.close()
        theirs.close()
        self._socket = ours
        self._lock = threading.Lock()
        atexit.register(self.close)

    def fork(self, words: Sequence[str], env: Mapping[str, str], files: Sequence[int]) -> int:
        """Fork it with these standard streams and the pipe for its status; returns the process's number."""
        request = json.dumps({"words": list(words), "env": dict(env), "folder": os.getcwd()}).encode()
        with self._lock:
            socket.send_fds(self._socket, [_REQUEST.pack(len(request))], files)
            self._socket.sendall(request)
            (pid,) = _REQUEST.unpack(_received(self._socket, _REQUEST.size))
        return int(pid)

    def close(self) -> None:
        """End it; what it forked goes on."""
        self._socket.close()
        self._process.wait(60)


_lock = threading.Lock()
_started: list[_Interpreter] = []


def _interpreter() -> _Interpreter:
    with _lock:
        if not _started:
            _started.append(_Interpreter())
        return _started[0]


def _received(connection: socket.socket, size: int) -> bytes:
    whole = b""
    while len(whole) < size:
        part = connection.recv(size - len(whole))
        assert part, "the interpreter that forks is gone"
        whole += part
    return whole


def _import_program() -> None:
    for part in _PARTS:
        package = import_module(f"analytics_refreshd.{part}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # what needs an extra that is not installed is not imported by the program either
            with suppress(ImportError):
                import_module(found.name)


def _serve(connection: socket.socket) -> list[str] | None:
    """Fork at each request; returns the words in the forked process, None once nobody can ask any more."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        ready = select.poll()
        for number in (connection.fileno(), *running):
            ready.register(number, select.POLLIN)
        for number, _ in ready.poll():
            if number in running:
                _tell_end(number, *running.pop(number))
                continue
            head, files, _, _ = socket.recv_fds(connection, _REQUEST.size, 4)
            if not head:
                return None
            request = json.loads(_received(connection, _REQUEST.unpack(head)[0]))
            pid = os.fork()
            if pid == 0:
                connection.detach()
                return _take_over(request, files)
            for each in files[:3]:
                os.close(each)
            running[os.pidfd_open(pid)] = (pid, files[3])
            connection.sendall(_REQUEST.pack(pid))


def _tell_end(number: int, pid: int, status: int) -> None:
    os.close(number)
    _, ended = os.waitpid(pid, 0)
    # nobody may be left who asks
    with suppress(BrokenPipeError):
        os.write(status, _STATUS.pack(os.waitstatus_to_exitcode(ended)))
    os.close(status)


def _take_over(request: dict[str, object], files: Sequence[int]) -> list[str]:
    for place, number in enumerate(files[:3]):
        os.dup2(number, place)
    os.closerange(3, 4096)
    os.chdir(str(request["folder"]))
    env = request["env"]
    assert isinstance(env, dict)
    os.environ.clear()
    os.environ.update(env)
    # an earlier one, of another environment
    tempfile.tempdir = None
    words = request["words"]
    assert isinstance(words, list)
    first, *words = words
    exec(first, {})  # noqa: S102 - a test's own
    return words


def _main() -> int:
    _import_program()
    # what is collected is written to, and memory that is written to is copied
    import gc

    gc.freeze()
    words = _serve(socket.socket(fileno=int(sys.argv[1])))
    if words is None:
        return 0
    program: ModuleType = import_module("analytics_refreshd.__main__")
    sys.argv = [str(program.__file__), *words]
    code: int = program.main()
    return code


if __name__ == "__main__":
    raise SystemExit(_main())
