"""README, guides, runbooks and alert texts: every link leads somewhere, every command and file exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from analytics_refreshd.cli.main import app
from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.deploy.support import DEPLOY, ROOT, RULES

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / ".github").glob("*.md"), *DEPLOY.rglob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def identifier(path: Path) -> str:
    """A document's path below the root."""
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The fragments that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=identifier)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Relative links name files that exist, and headings that are there."""
    for target in _LINK.findall(document.read_text()):
        if "://" in target:
            continue
        name, _, fragment = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{target} in {identifier(document)}"
        assert not fragment or fragment in anchors(path), f"{target} in {identifier(document)}"


def commands(text: str) -> list[str]:
    """What follows `analytics-refreshd` wherever it is typed: in code blocks, in code spans, after `Next:`."""
    blocks = re.findall(r"^[ \t]*```[a-z]*\n(.*?)^[ \t]*```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^[ \t]*```.*?^[ \t]*```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line for block in blocks for line in block.splitlines()] + spans + re.findall(r"Next: (.*)", text)
    typed = []
    for line in lines:
        match = re.search(r"(?:^|[\s/])analytics-refreshd((?: --[\w-]+ \S+)*) ([a-z]+)(.*)", line)
        if match and not re.search(
            r"(?:systemctl|journalctl|kubectl (?:-n \S+ )?(?:create|logs|get)|podman|pip3?) ", line
        ):
            typed.append(f"{match[2]}{match[3]}")
    return typed


def test_every_command_in_a_document_exists() -> None:
    """Commands, options and query names in guides, runbooks and alerts are those of the command line."""
    group: Any = typer.main.get_command(app)
    catalogue = set(Catalogue.load().queries)
    seen = 0
    for document in [*DOCUMENTS, RULES]:
        for typed in commands(document.read_text()):
            words = re.sub(r"\{\{[^}]*\}\}", "X", typed).split(" && ")[0].split(" | ")[0].rstrip(".,;\"'").split()
            where = f"{typed!r} in {identifier(document)}"
            command = group.commands.get(words[0])
            assert command is not None, where
            known = {option for parameter in command.params for option in parameter.opts}
            given = [word.split("=")[0] for word in words[1:] if word.startswith("--")]
            if words[0] == "query":
                name = next((word for word in words[1:] if not word.startswith("-")), None)
                assert name in (None, "NAME") or name in catalogue, where
                continue
            assert [option for option in given if option not in known] == [], where
            seen += 1
    assert seen > 30


def test_every_file_a_document_names_exists() -> None:
    """A path into this tree that a document names is there; in one with a part like `NAME`, the folder."""
    for document in DOCUMENTS:
        for name in re.findall(r"(?<![\w/.-])((?:src|tests|deploy|systemd)/[\w./-]*\w)", document.read_text()):
            if name.startswith("deploy/analytics-refreshd"):
                continue  # kubectl's name for the Deployment
            path = ROOT / name
            found = path.parent if "NAME" in path.name else path
            assert found.exists(), f"{name} in {identifier(document)}"
