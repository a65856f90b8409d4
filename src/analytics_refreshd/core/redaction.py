"""Remove personal data, secrets and control characters from text.

These are recognised: e-mail addresses; credentials in URLs and in `key=value` pairs; tokens (JWTs, prefixed keys, bot
tokens, long hexadecimal or mixed runs); seven or more digits in a row; telephone and card numbers. Dates, UUIDs, IP
addresses and SQLSTATEs stay, because an error cannot be looked up without them. Every pattern takes time linear in the
length of its input.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence

from analytics_refreshd.core.display import without_controls

LIMIT_BYTES = 1024
_READ_CHARACTERS = 64 * LIMIT_BYTES
_DEPTH = 32

_CONFIDENTIAL = (
    r"(?:(?:passw|passphrase|passcode|secret|token|credential|signature|cookie|bearer|jwt|csrf|xsrf|session[_-]?id"
    r"|(?:api|app|access|account|auth|aws|client|crypt|cryption|encryption|license|master|private|service|shared|signing"
    r"|ssh|storage|webhook)[_-]?key|connection[_-]?string)[\w-]{0,40}+"
    r"|pass|pwd|(?:(?<![\w-])|(?<=[_-]))(?:pw|auth|authorization|creds|cred|sig|otp|totp|pin|cvv|cvc|salt|session|sid))"
)
_CONTACT = r"(?:e[_-]?mail|phone|mobile|address|iban|ssn|birth)[\w-]{0,40}+"
_KEY_IS_PRIVATE = re.compile(rf"(?:{_CONFIDENTIAL}|{_CONTACT})$", re.I)

_UUID = r"(?<![\w-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![\w-])"
_DATE = r"(?<!\d)[12]\d{3}-[01]\d-[0-3]\d(?:[T ][0-2]\d:[0-5]\d(?::[0-5]\d(?:[.,]\d{1,6})?)?)?(?!\d)"
_ADDRESS = r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"
_LOCAL_PART = r"[^\s<>\"(),;:=@\[\]{}|/]"

_TOKEN = "<token>"  # noqa: S105 - what stands for one
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ of a URL. A password may itself hold @, / and ?. A port before a path is no password.
    (re.compile(r"(?<![\w+.-])([a-zA-Z][\w+.-]{1,30}+://)[^\s/?#]{0,512}@"), r"\1***@"),
    (re.compile(r"(?<![\w+.-])([a-zA-Z][\w+.-]{1,30}+://)[^\s/@:]{0,256}:(?!\d{1,5}[/?#])[^\s@]{0,256}@"), r"\1***@"),
    (
        re.compile(
            r"(?<!\w)(authorization\s{0,3}(?:=>|[:=])\s{0,3}[\"']?|bearer\s|basic\s)(?:bearer\s|basic\s)?[^\s,;]++",
            re.I,
        ),
        r"\1***",
    ),
    (
        re.compile(
            rf"({_CONFIDENTIAL}\\{{0,3}}[\"']?\s{{0,3}}(?::=|=>|->|[:=]|%3[ad])\s{{0,3}})"
            r"(?:\\{1,3}\"[^\"]*+(?:\"|$)|\"[^\"]*+(?:\"|$)|'[^']*+(?:'|$)|[^\s,;&)}\]]++)",
            re.I,
        ),
        r"\1***",
    ),
    # an option of a command, and an element of XML
    (
        re.compile(
            rf"(?<![\w-])(--?[\w.-]{{0,30}}?{_CONFIDENTIAL}\s{{1,3}})(?:\"[^\"]*+(?:\"|$)|'[^']*+(?:'|$)|[^\s,;]++)",
            re.I,
        ),
        r"\1***",
    ),
    (re.compile(rf"(<[\w:.-]{{0,30}}?{_CONFIDENTIAL}>)[^<]++", re.I), r"\1***"),
    (re.compile(rf"(?<!{_LOCAL_PART})(?!\*\*\*@){_LOCAL_PART}++@\[?[\w.-]++"), "<email>"),
    (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+%40[\w.-]++", re.I), "<email>"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{5,}+(?:\.[\w-]*+){0,4}"), _TOKEN),
    (re.compile(r"(?<!\d)\d{6,12}:[\w-]{20,}+"), _TOKEN),
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk|pk|rk|gh[pousr]|github_pat|glpat|xox[a-z]|AKIA|ASIA|AIza|ya29|npm|pypi|hf)"
            r"[_.-]?[\w-]{12,}+"
        ),
        _TOKEN,
    ),
)
_DATA_PATH = r"(?<=\")(?:base|global|pg_[a-z_]{2,20})/[\w./-]{1,128}(?=\")"
"""A file below the server's data folder: it tells which tablespace is full."""
_WORD = re.compile(rf"({_UUID}|{_DATE}|{_DATA_PATH})|[A-Za-z0-9_+/=-]{{16,}}+")
_DIGITS = re.compile(
    rf"({_UUID}|{_DATE}|{_ADDRESS}|{_DATA_PATH})|\+?\d{{7,}}+|\+?\(?\d{{1,6}}\)?(?:[ ().-]{{1,2}}\d{{2,6}}){{2,}}+"
)
_SECOND_PART = re.compile(r"^\s*([^\W\d_][^\W_]*(?: \d+)?)\s?:(?:\s|$)")

_NOUNS = (
    "relation|table|view|column|constraint|index|function|schema|role|user|database|type|parameter|extension"
    "|sequence|trigger|domain|language|tablespace|collation|procedure|routine|publication|subscription|server"
    "|operator|rule|policy|option|statement|cursor|savepoint|setting|group|partition|server at|host name|socket"
)
_NAMED = re.compile(
    rf"(?<![\w])(?:(?:{_NOUNS})\s\"[\w.$:/-]{{1,128}}\"|(?:file|directory)\s\"{_DATA_PATH}\")(?=[\s,.;:)]|$)", re.I
)
_QUOTES = (
    ('"', '"'),
    ("`", "`"),
    ("\u201c\u201d\u201e", "\u201c\u201d\u201e"),
    ("\u00ab\u00bb", "\u00ab\u00bb"),
    ("\u2018", "\u2019"),
)
_APOSTROPHE_OPENS = re.compile(r"(?<!\w)'")
_APOSTROPHE_CLOSES = re.compile(r"'(?!\w)")


def redact_error(text: str) -> str:
    """Redact an error of the daemon or the server to one line.

    The result has at most 1 kB of UTF-8 and is safe for log, history and alerts. Only the primary message is kept.
    DETAIL, HINT, CONTEXT and everything after them are dropped, in any language. Quoted literals are masked. Names that
    the server quotes after their kind (`relation "x"`) stay.
    """
    lines: list[str] = []
    for number, line in enumerate(text[:_READ_CHARACTERS].splitlines()):
        head = _SECOND_PART.match(line)
        if number and head and head[1].split(" ")[0].isupper():
            break
        lines.append(line)
    return cut(_clean(_mask_quoted(_one_line("\n".join(lines)))), original_characters=len(text))


def redact_value(text: str) -> str:
    """Redact application text, such as an error_message, to one line.

    The result has at most 1 kB of UTF-8.
    """
    return cut(_clean(_one_line(_bounded(text))), original_characters=len(text))


def holds_token(text: str) -> bool:
    """Return whether a text holds what looks like a token."""
    return any(pattern.search(text) for pattern, mask in _RULES if mask == _TOKEN)


def redact_json(value: object) -> object:
    """Redact every string, key and long number in a JSON value.

    Values under a key that names a secret or a contact are masked completely. If the redacted value is over 1 kB as
    text, that text is cut and returned.
    """
    clean = _redact_node(value, _DEPTH)
    shown = json.dumps(clean, ensure_ascii=False, default=str)
    return clean if len(shown.encode("utf-8", "replace")) <= LIMIT_BYTES else cut(shown)


def cut(text: str, most_bytes: int = LIMIT_BYTES, *, original_characters: int | None = None) -> str:
    """Cut a text to `most_bytes` of UTF-8, and note its length there.

    `original_characters` is that length where `text` is what was left of a longer one.
    """
    length = len(text) if original_characters is None else original_characters
    # no character takes less than a byte
    encoded = text[: most_bytes + 1].encode("utf-8", "replace")
    if len(encoded) <= most_bytes and length <= _READ_CHARACTERS:
        return encoded.decode()
    note = f"… ({length} characters)"
    return encoded[: max(0, most_bytes - len(note.encode()))].decode("utf-8", "ignore") + note


def printable(text: str) -> str:
    """Return the text on one line, without control and direction-changing characters.

    Nothing else is removed.
    """
    return _one_line(text)


def _redact_node(value: object, depth: int) -> object:
    if depth == 0:
        return "…"
    if isinstance(value, str):
        return redact_value(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        finite = isinstance(value, int) or math.isfinite(value)
        return value if finite and abs(value) < 1_000_000 else "<number>"
    if isinstance(value, Mapping):
        return {
            redact_value(str(key)): "***"
            if _KEY_IS_PRIVATE.search(str(key)[:200]) and item is not None
            else _redact_node(item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_redact_node(item, depth - 1) for item in value]
    return redact_value(str(value))


def _bounded(text: str) -> str:
    """Return the part that is read, without a last word that may be cut."""
    if len(text) <= _READ_CHARACTERS:
        return text
    return text[:_READ_CHARACTERS].rsplit(None, 1)[0]


def _one_line(text: str) -> str:
    """Turn white space of any kind into one space; remove Cc, Cf, Cs, Co and line separators."""
    return " ".join(without_controls(text).split())


def _mask_quoted(text: str) -> str:
    """Mask from the first quote of a kind to the last. A value may hold quotes, or be cut before its last."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\x00{len(kept) - 1}\x00"

    masked = _NAMED.sub(keep, text)
    for opening, closing in _QUOTES:
        opened_at = [position for position, character in enumerate(masked) if character in opening]
        if not opened_at:
            continue
        start = opened_at[0]
        end = max(masked.rfind(character) for character in closing)
        open_ended = end <= start or (opening == closing and len(opened_at) % 2 == 1)
        tail = "" if open_ended else masked[end + 1 :]
        masked = f"{masked[: start + 1]}***{masked[end] if end > start else opening[-1]}{tail}"
    opened = _APOSTROPHE_OPENS.search(masked)
    if opened:
        last = max((match.start() for match in _APOSTROPHE_CLOSES.finditer(masked)), default=-1)
        tail = masked[last + 1 :] if last > opened.start() else ""
        masked = f"{masked[: opened.start()]}'***'{tail}"
    return re.sub(r"\x00(\d+)\x00", lambda match: kept[int(match[1])], masked)


def _looks_like_token(word: str) -> bool:
    """Return whether it has 20 characters of mixed case and digits, or a part of 16 with letters and digits.

    Paths and identifiers have shorter parts, or parts without digits.
    """
    if len(word) >= 20 and all(any(map(kind, word)) for kind in (str.isupper, str.islower, str.isdigit)):
        return True
    parts = re.split(r"[-_/+=]", word)
    return any(len(part) >= 16 and not part.isalpha() and not part.isdigit() for part in parts)


def _number(match: re.Match[str]) -> str:
    """Mask nine digits in groups (telephone, card) and seven in a row (chat, account)."""
    if match[1]:
        return match[1]
    digits = sum(character.isdigit() for character in match[0])
    grouped = not match[0].lstrip("+").isdigit()
    return match[0] if grouped and digits < 9 else "<number>"


def _clean(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _WORD.sub(lambda match: match[0] if match[1] or not _looks_like_token(match[0]) else _TOKEN, text)
    return _DIGITS.sub(_number, text)
