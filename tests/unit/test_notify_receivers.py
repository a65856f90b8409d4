"""The registry of receiver types: a module is enough, whoever reads a configuration opens no socket."""

import re
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from analytics_refreshd.config.receivers import receiver_sections
from analytics_refreshd.notify.receiver import AlertReceiver, CycleReceiver
from analytics_refreshd.notify.receivers import build, receiver_types
from analytics_refreshd.notify.settings import DeliverySettings, InvalidSettings, ReceiverSettings, UrlFileSettings
from tests.support.fakes import FakeClock

ROOT = Path(__file__).parents[2]
TOY = '''
"""A toy."""
from dataclasses import dataclass
from analytics_refreshd.notify.planning import one_message_per_alert
from analytics_refreshd.notify.receiver import AlertReceiver, ReceiverType
from analytics_refreshd.notify.request import json_request
from analytics_refreshd.notify.settings import UrlFileSettings

@dataclass(frozen=True, kw_only=True)
class ToySettings(UrlFileSettings):
    patience_seconds: float = 2.0

class ToyReceiver(AlertReceiver[ToySettings]):
    def plan(self, given):
        return one_message_per_alert(given, self.delivery.repeat_every_seconds)

    def request(self, message, url):
        return json_request(url, {"patience": self.settings.patience_seconds})

TYPE = ReceiverType(ToySettings, ToyReceiver)
'''


def run(program: str, *words: str) -> str:
    """The output of a Python program in a process of its own, whose imports it alone decides."""
    command = [sys.executable, "-c", textwrap.dedent(program), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_a_new_type_is_one_module(tmp_path: Path) -> None:
    """Found, configured, checked and built by its name, with nothing else changed."""
    (tmp_path / "toy.py").write_text(TOY)
    config = tmp_path / "config.toml"
    config.write_text(
        '[database]\nurl = "postgresql://u@h/app"\n'
        '[receivers.one]\ntype = "toy"\nurl = "http://h"\npatience = "5s"\n'
        '[receivers.two]\ntype = "toy"\nurl = "http://h"\n'
    )
    program = """
        import sys
        from pathlib import Path
        import analytics_refreshd.notify.receivers as registry
        registry.__path__.append(sys.argv[1])
        from analytics_refreshd.config import load
        from analytics_refreshd.notify.settings import DeliverySettings
        for name, receiver in load(Path(sys.argv[2])).receivers.items():
            built = registry.build(receiver.settings(name), DeliverySettings("shop"), None)
            print(type(built).__name__, name, built.request(None, built.url()).body.decode())
    """
    found = run(program, str(tmp_path), str(config)).splitlines()
    assert found == ['ToyReceiver one {"patience": 5.0}', 'ToyReceiver two {"patience": 2.0}']


def test_reading_a_configuration_imports_no_http_client() -> None:
    """Nor what delivers: the settings and plans of every type stand alone."""
    unwanted = "urllib3", "tenacity", "analytics_refreshd.notify.exchange", "analytics_refreshd.notify.queue"
    program = "import sys, analytics_refreshd.config; print([name for name in sys.argv[1:] if name in sys.modules])"
    assert run(program, *unwanted) == "[]"


def test_every_type_is_explained_and_shown() -> None:
    """The guide has a section or a page for each, the sample a table whose url, where it has a default, is that."""
    guide = (ROOT / "deploy" / "guides" / "receivers.md").read_text()
    explained = set(re.findall(r"^\| \[`(\w+)`\]\(", guide, re.MULTILINE))
    assert explained == set(receiver_types())
    sample = re.sub(r"^# (\w+ = |\[receivers)", r"\1", (ROOT / "config.example.toml").read_text(), flags=re.MULTILINE)
    shown = {table["type"]: table for table in tomllib.loads(sample)["receivers"].values()}
    assert set(shown) == set(receiver_types())
    for name, section in receiver_sections().items():
        for key, field in section.model_fields.items():
            if isinstance(field.default, str):
                assert shown[name][key] == field.default


@pytest.mark.parametrize("name", list(receiver_types()))
def test_every_type_is_built_from_its_own_settings(name: str, tmp_path: Path) -> None:
    """It takes alerts or cycles, and its settings hide what may be a secret."""
    kind = receiver_types()[name]
    required: dict[str, Any] = {
        item.name: tmp_path for item in fields(kind.settings) if item.default is MISSING and item.name != "name"
    }
    settings = kind.settings("x", url="https://h/CANARY", **required)
    built = build(settings, DeliverySettings("shop"), FakeClock())
    assert type(built) is kind.receiver
    assert isinstance(built, AlertReceiver) != isinstance(built, CycleReceiver)
    assert built.url() == "https://h/CANARY"
    assert "CANARY" not in repr(settings)


def test_settings_of_no_type_build_nothing() -> None:
    """What no module registered is a mistake of ours, not a webhook."""
    with pytest.raises(LookupError, match="ReceiverSettings belongs to no type"):
        build(ReceiverSettings("x", url="http://h"), DeliverySettings("shop"), FakeClock())


@pytest.mark.parametrize(
    "url",
    ["", "h", "ftp://h", "http://", "http:///x", "http://:80/", " http://h", "http://[h", "http://h:x", "http://hä/"],
)
def test_an_address_is_checked_where_it_is_configured(url: str) -> None:
    """Whoever builds settings learns of it, by field, and the text does not repeat the address."""
    with pytest.raises(InvalidSettings) as caught:
        UrlFileSettings("x", url=url and f"{url}CANARY" if url.startswith("ftp") else url)
    ((field, text),) = caught.value.problems_by_field
    assert field == "url"
    assert "CANARY" not in f"{caught.value}{text}"
    assert str(caught.value).startswith("receivers.x.url ")
