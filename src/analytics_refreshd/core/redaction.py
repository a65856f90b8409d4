"""Text that people and receivers may see: personal data, secrets and control characters taken out.

What is recognised: e-mail addresses, credentials in URLs and in `key=value` pairs, tokens (JWTs, prefixed keys,
bot tokens, long hexadecimal or mixed runs), and runs of seven or more digits. Dates, UUIDs and SQLSTATEs stay, for
without them an error cannot be looked up. Every pattern is linear in the length of its input.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

LIMIT_BYTES = 1024
_READ_CHARACTERS = 64 * LIMIT_BYTES
_DEPTH = 32

_SECRET_NAME = (
    r"(?:[\w-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key"
    r"|credential|signature|session[_-]?id|cookie)[\w-]*|pwd|pass|auth|authorization)"
)
_KEY_IS_SECRET = re.compile(
    rf"^(?:{_SECRET_NAME}|[\w-]*(?:e[_-]?mail|phone|mobile|address|iban|ssn|birth)[\w-]*)$", re.I
)

_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![\w-])"
_DATE = r"[12]\d{3}-[01]\d-[0-3]\d(?:[T ][0-2]\d:[0-5]\d(?::[0-5]\d(?:[.,]\d{1,6})?)?)?(?!\d)"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ of a URL; the last @ before the path ends the credentials, since passwords may hold one
    (re.compile(r"(?<![a-zA-Z0-9+.-])([a-zA-Z][a-zA-Z0-9+.-]{1,30}://)[^\s/?#]*@"), r"\1***@"),
    (
        re.compile(r"(?<![\w-])(authorization\s*[:=]\s*|bearer\s+|basic\s+)(?:bearer\s+|basic\s+)?[^\s,;]++", re.I),
        r"\1***",
    ),
    (
        re.compile(
            rf"(?<![\w-])({_SECRET_NAME})([\"']?\s{{0,3}}[:=]\s{{0,3}})"
            r"(?:\"[^\"]*+(?:\"|$)|'[^']*+(?:'|$)|[^\s,;&)}\]]++)",
            re.I,
        ),
        r"\1\2***",
    ),
    (re.compile(r"(?<![\w.+%@-])[\w.+%'-]{1,128}?(?:@|%40)\[?[\w.:-]++\]?"), "<email>"),
    # what no run of word characters may start, an address of over 128 characters before its @ included
    (re.compile(r"[^\s<>\"'(),;:@]++@[\w.-]++"), "<email>"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{5,}+(?:\.[\w-]*+){0,4}"), "<token>"),
    (re.compile(r"(?<!\d)\d{6,12}:[\w-]{20,}+"), "<token>"),
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk|pk|rk|gh[pousr]|github_pat|glpat|xox[a-z]|AKIA|ASIA|AIza|ya29|npm|pypi|hf)[_.-]?[\w-]{12,}+"
        ),
        "<token>",
    ),
)
_WORD = re.compile(rf"({_UUID}|{_DATE})|[A-Za-z0-9_+/=-]{{20,}}+|(?<![\w])0[xX][0-9a-fA-F]{{8,}}+")
_DIGITS = re.compile(rf"((?<![\w-]){_UUID}|(?<!\d){_DATE})|\+?\d(?:[ ().-]{{0,2}}\d){{6,}}+")
_SECOND_PART = re.compile(r"^\s*([^\W\d_][^\W_]*(?: \d+)?)\s?:(?:\s|$)")

_NOUNS = (
    "relation|table|view|column|constraint|index|function|schema|role|user|database|type|parameter|extension"
    "|sequence|trigger|domain|language|tablespace|collation|procedure|routine|publication|subscription|server"
    "|operator|rule|policy|option|statement|cursor|savepoint|setting|group|partition"
)
_NAMED = re.compile(rf"(?<![\w])(?:{_NOUNS})\s\"[\w.$-]{{1,128}}\"(?=[\s,.;:)]|$)", re.I)
_QUOTES = (('"', '"'), ("`", "`"), ("“", "”"), ("„", "“"), ("«", "»"), ("»", "«"), ("‘", "’"))
_APOSTROPHE_OPENS = re.compile(r"(?<!\w)'")
_APOSTROPHE_CLOSES = re.compile(r"'(?!\w)")


def redact_error(text: str) -> str:
    """One line of a daemon or server error, safe for log, history and alerts; at most 1 kB of UTF-8.

    Only the primary message is kept: DETAIL, HINT, CONTEXT and what follows them are dropped, whatever their
    language. Quoted literals are masked; names the server quotes after their kind (`relation "x"`) stay.
    """
    lines: list[str] = []
    for number, line in enumerate(text[:_READ_CHARACTERS].splitlines()):
        head = _SECOND_PART.match(line)
        if number and head and head[1].split(" ")[0].isupper():
            break
        lines.append(line)
    return _cut(_clean(_mask_quoted(_one_line("\n".join(lines)))), len(text))


def redact_value(text: str) -> str:
    """One line of application text, such as an error_message column; at most 1 kB of UTF-8."""
    return _cut(_clean(_one_line(_bounded(text))), len(text))


def redact_json(value: object) -> object:
    """A JSON value of the application with every string, key and long number in it redacted.

    Values under a key that names a secret or a contact are masked whole. A value whose redacted text would be over
    1 kB comes back as that text, cut, since a log or a table has no use for more.
    """
    clean = _redact_node(value, _DEPTH)
    shown = json.dumps(clean, ensure_ascii=False, default=str)
    if len(shown.encode("utf-8", "replace")) <= LIMIT_BYTES:
        return clean
    return _cut(shown, len(shown))


def printable(text: str) -> str:
    """The text on one line, without control, direction-changing or undecodable characters; nothing else taken out."""
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
            if _KEY_IS_SECRET.match(str(key)) and item is not None
            else _redact_node(item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_redact_node(item, depth - 1) for item in value]
    return redact_value(str(value))


def _bounded(text: str) -> str:
    """The part that is looked at; a token that the end may have split goes with it."""
    if len(text) <= _READ_CHARACTERS:
        return text
    return text[:_READ_CHARACTERS].rsplit(None, 1)[0]


def _one_line(text: str) -> str:
    """White space of any kind becomes one space; Cc, Cf, Cs, Co and line separators go."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    spaced = (
        character
        if character.isprintable()
        else " "
        if character.isspace() or unicodedata.category(character).startswith("Z")
        else ""
        for character in text
    )
    return " ".join("".join(spaced).split())


def _mask_quoted(text: str) -> str:
    """Mask from the first quote of a kind to the last: a value may itself hold quotes, and a cut one ends nowhere."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\x00{len(kept) - 1}\x00"

    masked = _NAMED.sub(keep, text)
    for opening, closing in _QUOTES:
        start = masked.find(opening)
        if start < 0:
            continue
        end = masked.rfind(closing)
        open_ended = end <= start or (opening == closing and masked.count(opening) % 2 == 1)
        masked = f"{masked[:start]}{opening}***{closing}{'' if open_ended else masked[end + 1 :]}"
    opened = _APOSTROPHE_OPENS.search(masked)
    if opened:
        last = max((match.start() for match in _APOSTROPHE_CLOSES.finditer(masked)), default=-1)
        tail = masked[last + 1 :] if last > opened.start() else ""
        masked = f"{masked[: opened.start()]}'***'{tail}"
    return re.sub(r"\x00(\d+)\x00", lambda match: kept[int(match[1])], masked)


def _looks_like_token(word: str) -> bool:
    bare = word.strip("=+/_-")
    if re.fullmatch(r"(?:0[xX])?[0-9a-fA-F]{16,}", bare):
        return any(character.isdigit() for character in bare)
    return any(character.isdigit() for character in bare) and any(character.isalpha() for character in bare)


def _clean(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _WORD.sub(lambda match: match[0] if match[1] or not _looks_like_token(match[0]) else "<token>", text)
    return _DIGITS.sub(lambda match: match[1] or "<number>", text)


def _cut(text: str, original_characters: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= LIMIT_BYTES and original_characters <= _READ_CHARACTERS:
        return encoded.decode()
    note = f"… ({original_characters} characters)"
    room = LIMIT_BYTES - len(note.encode())
    return encoded[:room].decode("utf-8", "ignore") + note
