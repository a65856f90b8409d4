"""Breaks one seam after another in a copy of this tree, and tells which tests did not notice.

    python -m tests.mutations [--match TEXT] [--jobs 2]

Ends with exit code 1 where a test passed, was skipped, or broke down before its own assertions, and where a breakage
was not tried.
"""

import argparse
import queue
import shutil
import tempfile
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

from tests.mutations import session
from tests.mutations.catalog import ROOT, Mutation, mutations
from tests.support.postgres import Server

_LIMIT_SECONDS = 300


def run(mutation: Mutation, root: Path, dsn: str) -> dict[str, str]:
    """What became of each test under the mutation: failed, passed, skipped, error, or missing."""
    kept = (root / mutation.file).read_text()
    report = root / "report.xml"
    report.unlink(missing_ok=True)
    mutation.apply(root)
    words = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", f"--dsn={dsn}", *mutation.fails]
    process = session.start(root, words)
    process.join(_LIMIT_SECONDS)
    stuck = process.exitcode is None
    if stuck:
        process.kill()
        process.join()
    # a session that still ran would go on with the file that is whole
    (root / mutation.file).write_text(kept)
    if stuck:
        return dict.fromkeys(mutation.fails, "failed")
    if not report.exists():
        return dict.fromkeys(mutation.fails, "missing")
    outcomes: dict[str, set[str]] = {test: set() for test in mutation.fails}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        path = case.get("classname", "").replace(".", "/") + ".py"
        test = f"{path}::{case.get('name', '').split('[')[0]}"
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes.setdefault(test, set()).update(kinds or {"passed"})
    names = [("failure", "failed"), ("error", "error"), ("passed", "passed"), ("skipped", "skipped")]
    return {test: next((name for kind, name in names if kind in outcomes[test]), "missing") for test in mutation.fails}


def copy_of_the_tree(folder: Path) -> Path:
    """Copy what this tree holds to `folder`, committed or not; without environments, caches and history."""
    left_out = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "build", "*.egg-info")
    return Path(shutil.copytree(ROOT, folder / "tree", ignore=left_out))


def main() -> int:
    """Run the breakages asked for and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.partition("\n")[0])
    parser.add_argument("--match", default="", help="only those whose text, file or tests hold this")
    parser.add_argument("--jobs", type=int, default=1, help="copies of the tree to work in at once")
    given = parser.parse_args()
    waiting: queue.SimpleQueue[Mutation] = queue.SimpleQueue()
    chosen = [item for item in mutations() if given.match in " ".join([item.breaks, item.file, *item.fails])]
    for item in chosen:
        waiting.put(item)
    unnoticed: list[str] = []
    tried: list[Mutation] = []
    seen: set[str] = set()

    def work(dsn: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = copy_of_the_tree(Path(folder))
            while True:
                try:
                    mutation = waiting.get_nowait()
                except queue.Empty:
                    return
                began = time.monotonic()
                outcomes = run(mutation, root, dsn)
                tried.append(mutation)
                print(f"{time.monotonic() - began:5.1f} s  {mutation.breaks}", flush=True)
                for test, outcome in outcomes.items():
                    seen.add(test)
                    if outcome != "failed":
                        unnoticed.append(f"{test} {outcome}: {mutation.breaks}")

    # one server for all of them: most of such a test's time is a server's start
    server = Server().start()
    try:
        threads = [threading.Thread(target=work, args=[server.dsn()]) for _ in range(given.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.destroy()
    print(f"{len(tried)} of {len(chosen)} breakages, {len(seen)} tests, {len(unnoticed)} did not notice")
    for line in unnoticed:
        print(f"  {line}")
    # a job that broke down leaves breakages that nobody tried
    return 1 if unnoticed or len(tried) < len(chosen) or not chosen else 0


if __name__ == "__main__":
    raise SystemExit(main())
