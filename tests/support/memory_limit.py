"""A limit on the memory of a process, as a container or a unit has it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import eventually

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limit:
    """A control group of one process."""

    folder: Path
    unified: bool

    @property
    def entering(self) -> str:
        """Python by which a process enters it, before it uses memory."""
        return f"import os; open({str(self.folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"

    @property
    def entered(self) -> bool:
        """Whether a process is in it."""
        return bool((self.folder / "cgroup.procs").read_text().strip())

    @property
    def most_bytes(self) -> int:
        """The most memory used so far, that of the kernel for it included."""
        name = "memory.peak" if self.unified else "memory.max_usage_in_bytes"
        return int((self.folder / name).read_text())

    @property
    def kills(self) -> int:
        """How often a process was killed for want of memory."""
        name = "memory.events" if self.unified else "memory.oom_control"
        counts = dict(line.split() for line in (self.folder / name).read_text().splitlines())
        return int(counts.get("oom_kill", 0))


@contextmanager
def memory_limited(limit_bytes: int) -> Iterator[Limit | None]:
    """A control group with the limit, None where none can be made; gone at the end."""
    controllers = _ROOT / "cgroup.controllers"
    unified = controllers.exists() and "memory" in controllers.read_text().split()
    folder = (_ROOT if unified else _ROOT / "memory") / f"refreshd-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(limit_bytes))
    except OSError:
        if folder.exists():
            folder.rmdir()
        yield None
        return
    made = Limit(folder, unified)
    try:
        yield made
    finally:
        eventually(lambda: not made.entered)
        folder.rmdir()
