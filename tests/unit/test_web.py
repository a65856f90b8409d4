"""The pages of the API as they are committed: built from their sources, with licences, and without eval."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from analytics_refreshd.api.web.files import PAGES_POLICY, web_files
from tests.generate import web

SOURCES = sorted((web.WEB / "src").rglob("*.ts"))
MOST_LINES = 300


def test_the_pages_are_built_from_their_sources() -> None:
    """Who changes a source runs `.ci/generate`; this is seen without node, too."""
    assert (web.BUILT / "sources.sha256").read_text().strip() == web.sources_hash()


def test_the_page_names_its_files_by_what_they_hold() -> None:
    """A browser may keep them for ever: other bytes have another address."""
    found = hashlib.sha256()
    for name in ("pages.js", "pages.css"):
        found.update((web.BUILT / name).read_bytes())
    page = (web.BUILT / "index.html").read_text()
    assert re.findall(r"pages/(pages\.\w+)\?v=(\w+)", page) == [
        ("pages.css", found.hexdigest()[:16]),
        ("pages.js", found.hexdigest()[:16]),
    ]


def test_the_script_makes_no_code_of_text() -> None:
    """Neither eval nor Function is in it, so the policy allows neither."""
    script = (web.BUILT / "pages.js").read_text("utf-8")
    assert len(script) > 100_000
    assert re.findall(r"\beval\(|new Function|\bFunction\(", script) == []
    assert "unsafe" not in PAGES_POLICY


def test_a_build_takes_the_same_packages_everywhere() -> None:
    """The lock has every package's hash, and names no place that it comes from."""
    locked = json.loads((web.WEB / "package-lock.json").read_text())["packages"]
    packages = {name: package for name, package in locked.items() if name}
    assert {"node_modules/echarts", "node_modules/esbuild", "node_modules/typescript"} <= set(packages)
    assert [name for name, package in packages.items() if "resolved" in package or "integrity" not in package] == []
    assert "://" not in re.sub(r'"(?:url|funding)": .*', "", (web.WEB / "package-lock.json").read_text())


def test_licences_come_along() -> None:
    """What the script holds of other projects is named beside it, with the terms."""
    text = (web.BUILT / "licences.txt").read_text("utf-8")
    for name, version, licence in web.bundled():
        assert f"\n{name} {version}, {licence}\n" in text
    assert "Apache License" in text
    assert "The Apache Software Foundation" in text
    assert {name for name, _, _ in web.bundled()} == {"echarts", "tslib", "zrender"}


def test_every_file_is_served() -> None:
    """The page, its script, its style and the licences; each with its type."""
    assert {file.path: file.content_type.partition(";")[0] for file in web_files()} == {
        "/": "text/html",
        "/pages/pages.js": "text/javascript",
        "/pages/pages.css": "text/css",
        "/pages/licences.txt": "text/plain",
    }
    assert all(file.content for file in web_files())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(web.WEB).as_posix())
def test_sources_are_small_and_turn_no_text_into_markup(path: Path) -> None:
    """A module has at most 300 lines, the texts of a language apart, and none writes HTML."""
    text = path.read_text("utf-8")
    assert path.parent.name == "texts" or len(text.splitlines()) <= MOST_LINES
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser", text) == []
    assert text.startswith("// ")


def test_texts_are_in_the_files_of_their_languages() -> None:
    """No page has a sentence of its own: what a reader sees is of texts/."""
    for path in SOURCES:
        if path.parent.name != "texts":
            found = re.findall(r"""["'`>]([A-Z][a-z]+ [a-z]+ [a-z ]+)""", path.read_text("utf-8"))
            assert found == [], path.name


@pytest.mark.slow
def test_a_build_is_what_is_committed(tmp_path: Path) -> None:
    """The types are right, and a build in another folder has the same bytes."""
    try:
        built = web.build(tmp_path)
    except web.NotBuiltError as error:
        pytest.skip(str(error))
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error.output}{error.stderr}")
    assert web.outdated(built) == []
