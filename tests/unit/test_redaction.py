"""Redaction: what must never be seen, what must stay, and what any input may do to it."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_refreshd.core.redaction import LIMIT_BYTES, printable, redact_error, redact_json, redact_value

SECRETS = [
    ("mail to bob.smith+x@example.co.uk failed", "bob.smith"),
    ("mail to o'neil@example.org failed", "neil"),
    ("unknown user bob%40example.org", "bob"),
    ("GET https://user:hunter2@host/path", "hunter2"),
    ("postgresql://app:p@ss/w?rd@db.internal:5432/x", "ss/w"),
    ("cannot log in, password=hunter2;retry", "hunter2"),
    ('{"api_key": "hunter2 and more"}', "hunter2"),
    ("db_password: 'hunter2'", "hunter2"),
    ("no login: user=app pw=hunter2", "hunter2"),
    ("Authorization: Bearer abc.def", "abc.def"),
    ("header bearer abcdef1", "abcdef1"),
    ("https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/send", "AAHdq"),
    ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", "dozjg"),
    ("key sk-proj-abcdefghijklmnop refused", "abcdefgh"),
    ("contract 0xdAC17F958D2ee523a2206206994597C13D831ec7 reverted", "dAC17F9"),
    ("session 9f86d081884c7d659a2feaa0c55ad015", "9f86d08"),
    ("chat 123456789 not found", "123456789"),
    ("card 4111 1111 1111 1111", "4111"),
    ("call +49 170 123-4567", "170"),
]
KEPT = [
    'could not extend file "pg_tblspc/16385/PG_15_202209061/16384/1639012": No space left on device',
    'could not write to file "base/pgsql_tmp/pgsql_tmp1234567.0": No space left on device',
    'could not open directory "pg_wal/archive_status": Permission denied',
    "HTTP 502",
    "57014: canceling statement due to statement timeout",
    "no answer since 2026-11-23 20:42:09 from 192.168.100.200:5432",
    "action 123e4567-e89b-12d3-a456-426614174000 failed",
    "analytics-refreshd/demo/123e4567-e89b-12d3-a456-426614174000",
    'unique constraint "idx_trigger_performance_summary_unique"',
    "took 100000 ms",
    "can't open relation's file /var/lib/postgresql/18/main/base/16384/2619_fsm",
]


NAMES_OF_SECRETS = {
    "Rails filter_parameters": "passw secret token _key:api_key crypt:crypt_key salt otp cvv cvc",
    "Django SafeExceptionReporterFilter": "api_key auth token secret_key pass signature http_cookie",
    "Sentry EventScrubber": (
        "password passwd secret api_key apikey auth credentials mysql_pwd privatekey private_key token session "
        " csrftoken sessionid x_csrftoken set_cookie cookie authorization proxy-authorization x_api_key connect.sid"
        " csrf _csrf _xsrf xsrf-token"
    ),
    "gitleaks generic-api-key": "access_token api_key auth client_key credential creds passwd password secret token",
    "OWASP Logging Cheat Sheet": "session_id access_token password connection_string encryption_key",
    "libpq": "password sslpassword PGPASSWORD oauth_client_secret",
    "cloud providers": "aws_secret_access_key AccountKey SharedAccessKey SharedAccessSignature sig client_secret",
    "short forms": "pw pwd pass db_pw DB_PASS dbpass pin jwt",
}
"""What published tools hide by its name. A name after a colon stands for a part that is too short to be one alone."""
NAMES = sorted({word.rpartition(":")[2] for words in NAMES_OF_SECRETS.values() for word in words.split()})
FORMS = [
    "{name}={value}",
    "{name}: {value}",
    "{name} = '{value}'",
    '{{"{name}": "{value}"}}',
    '{{\\"{name}\\":\\"{value}\\"}}',
    '{{:{name} => "{value}"}}',
    "{name}:={value}",
    "https://h/?a=1&{name}={value}&b=2",
    "{name}%3D{value}",
    "run --{name}={value} --verbose",
    "run --{name} {value} --verbose",
    "<{name}>{value}</{name}>",
    "Server=h;{name}={value};Database=d",
]


@pytest.mark.parametrize("name", NAMES)
@given(
    form=st.sampled_from(FORMS),
    value=st.text(alphabet="abcXYZ!?#%+*~^.xyz", min_size=4, max_size=15),
    upper=st.booleans(),
)
def test_a_value_under_a_secret_name_never_survives(name: str, form: str, value: str, upper: bool) -> None:
    """In every form in which error texts give a name and its value."""
    text = form.format(name=name.upper() if upper else name, value=value)
    for result in (redact_value(f"cannot call: {text}"), redact_error(f"cannot call: {text}")):
        assert value not in result, result


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secrets_are_masked(text: str, secret: str) -> None:
    """Addresses, credentials, tokens and long numbers are in no output, also inside JSON."""
    assert secret not in redact_value(text)
    assert secret not in redact_error(text)
    assert secret not in json.dumps(redact_json({"a": [text], text: 1}))


@pytest.mark.parametrize("text", KEPT)
def test_what_diagnosis_needs_stays(text: str) -> None:
    """Codes, times, addresses of servers, ids and names of relations are not masked."""
    assert redact_value(text) == text
    assert redact_error(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (
            'invalid input syntax for type integer: "he said "bob" twice"',
            'invalid input syntax for type integer: "***"',
        ),
        ('invalid input syntax for type integer: "bob and so o', 'invalid input syntax for type integer: "***"'),
        ('values "a" and "bob', 'values "***"'),
        ("value 'O'Brien' is bad", "value '***' is bad"),
        ("date/time field value «bob»", "date/time field value «***»"),
        ('relation "hourly" lacks "bob"', 'relation "hourly" lacks "***"'),
        ('server at "127.0.0.1", port 5432 failed', 'server at "127.0.0.1", port 5432 failed'),
        ("duplicate key\nDETAIL:  Key (name)=(bob) exists.\nmore", "duplicate key"),
        ("doppelter Schlüssel\nDETAIL:  Schlüssel »(name)=(bob)«", "doppelter Schlüssel"),
        ("clé dupliquée\nDÉTAIL : La clé bob existe", "clé dupliquée"),
        ("no route\nto host", "no route to host"),
    ],
)
def test_errors_lose_row_values(text: str, clean: str) -> None:
    """Quoted literals are masked, and what follows the primary message is dropped in any language."""
    assert redact_error(text) == clean


@given(st.text(max_size=3000))
def test_any_text_comes_out_on_one_short_line(text: str) -> None:
    """Whatever comes in, out comes one printable line of at most 1 kB."""
    for result in (redact_value(text), redact_error(text)):
        assert len(result.encode()) <= LIMIT_BYTES
        assert result.isprintable()


@given(st.text(alphabet=st.characters(), max_size=200), st.text(max_size=200))
def test_an_address_between_spaces_never_survives(before: str, after: str) -> None:
    """Text around an e-mail address does not hide it."""
    assert "bob@example.org" not in redact_value(f"{before} bob@example.org {after}")


def test_control_and_direction_characters_go() -> None:
    """Terminal sequences, line breaks and right-to-left overrides cannot forge a line."""
    assert printable("a\x1b[31m\x00b\u202ec\u2028d\r\ne\x85f") == "a[31mbc d e f"


def test_a_cut_text_says_how_long_it_was() -> None:
    """What is over 1 kB is cut, at a character's boundary, with the original length."""
    result = redact_value("ä " * 5000)
    assert len(result.encode()) <= LIMIT_BYTES
    assert result.endswith("… (10000 characters)")


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "1",
        "a@",
        '"',
        "password",
        "passwordx",
        "token='",
        "1 ",
        "1-",
        "1.1.",
        "eyJ",
        "://",
        "a.b://:",
        "aa:",
        "%40a",
    ],
)
def test_no_input_makes_it_slow(piece: str) -> None:
    """Every pattern is linear: megabytes of what it almost matches cost no more than their first 64 kB."""
    text = piece * (2_000_000 // len(piece))
    started = time.process_time()
    redact_value(text)
    redact_error(text)
    assert time.process_time() - started < 5


def test_json_is_redacted_throughout() -> None:
    """Keys, nested values, numbers and what lies under a private key are redacted; the rest keeps its shape."""
    value = {
        "chat_id": 123456789,
        "ok": True,
        "nothing": None,
        "items": [1.5, {"password": 5, "bob@example.org": "call 1234567"}],
        "userEmail": "x",
        "inf": float("inf"),
    }
    assert redact_json(value) == {
        "chat_id": "<number>",
        "ok": True,
        "nothing": None,
        "items": [1.5, {"password": "***", "<email>": "call <number>"}],
        "userEmail": "***",
        "inf": "<number>",
    }


def test_large_and_deep_json_is_cut() -> None:
    """A large answer becomes its cut text; a deep one ends in an ellipsis instead of exhausting the stack."""
    large = redact_json(["word"] * 1000)
    assert isinstance(large, str)
    assert len(large.encode()) <= LIMIT_BYTES
    deep: object = "bob@example.org"
    for _ in range(500):
        deep = [deep]
    assert "…" in json.dumps(redact_json(deep), ensure_ascii=False)
