"""Text that people and receivers may see: personal data, secrets and control characters taken out.

What is recognised: e-mail addresses, credentials in URLs and in `key=value` pairs, tokens (JWTs, prefixed
keys, bot tokens, long hexadecimal or mixed runs), runs of seven or more digits and telephone or card numbers.
Dates, UUIDs, IP addresses and SQLSTATEs stay, for without them an error cannot be looked up. Every pattern is
linear in the length of its input.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

LIMIT_BYTES = 1024
_READ_CHARACTERS = 64 * LIMIT_BYTES
_DEPTH = 32

_CONFIDENTIAL = (
    r"(?:(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential"
    r"|signature|session[_-]?id|cookie)[\w-]{0,40}+|(?<![\w-])(?:pwd|pass|auth|authorization))"
)
_CONTACT = r"(?:e[_-]?mail|phone|mobile|address|iban|ssn|birth)[\w-]{0,40}+"
_KEY_IS_PRIVATE = re.compile(rf"(?:{_CONFIDENTIAL}|{_CONTACT})$", re.I)

_UUID = r"(?<![\w-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![\w-])"
_DATE = r"(?<!\d)[12]\d{3}-[01]\d-[0-3]\d(?:[T ][0-2]\d:[0-5]\d(?::[0-5]\d(?:[.,]\d{1,6})?)?)?(?!\d)"
_ADDRESS = r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"
_LOCAL_PART = r"[^\s<>\"(),;:=@\[\]{}|/]"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ of a URL; a password may itself hold @, / and ?, a port before a path is no password
    (re.compile(r"(?<![\w+.-])([a-zA-Z][\w+.-]{1,30}+://)[^\s/?#]{0,512}@"), r"\1***@"),
    (re.compile(r"(?<![\w+.-])([a-zA-Z][\w+.-]{1,30}+://)[^\s/@:]{0,256}:(?!\d{1,5}[/?#])[^\s@]{0,256}@"), r"\1***@"),
    (
        re.compile(r"(?<!\w)(authorization\s{0,3}[:=]\s{0,3}|bearer\s|basic\s)(?:bearer\s|basic\s)?[^\s,;]++", re.I),
        r"\1***",
    ),
    (
        re.compile(
            rf"({_CONFIDENTIAL}[\"']?\s{{0,3}}[:=]\s{{0,3}})"
            r"(?:\"[^\"]*+(?:\"|$)|'[^']*+(?:'|$)|[^\s,;&)}\]]++)",
            re.I,
        ),
        r"\1***",
    ),
    (re.compile(rf"(?<!{_LOCAL_PART})(?!\*\*\*@){_LOCAL_PART}++@\[?[\w.-]++"), "<email>"),
    (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+%40[\w.-]++", re.I), "<email>"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{5,}+(?:\.[\w-]*+){0,4}"), "<token>"),
    (re.compile(r"(?<!\d)\d{6,12}:[\w-]{20,}+"), "<token>"),
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk|pk|rk|gh[pousr]|github_pat|glpat|xox[a-z]|AKIA|ASIA|AIza|ya29|npm|pypi|hf)"
            r"[_.-]?[\w-]{12,}+"
        ),
        "<token>",
    ),
)
_WORD = re.compile(rf"({_UUID}|{_DATE})|[A-Za-z0-9_+/=-]{{16,}}+")
_DIGITS = re.compile(rf"({_UUID}|{_DATE}|{_ADDRESS})|\+?\d{{7,}}+|\+?\(?\d{{1,6}}\)?(?:[ ().-]{{1,2}}\d{{2,6}}){{2,}}+")
_SECOND_PART = re.compile(r"^\s*([^\W\d_][^\W_]*(?: \d+)?)\s?:(?:\s|$)")

_NOUNS = (
    "relation|table|view|column|constraint|index|function|schema|role|user|database|type|parameter|extension"
    "|sequence|trigger|domain|language|tablespace|collation|procedure|routine|publication|subscription|server"
    "|operator|rule|policy|option|statement|cursor|savepoint|setting|group|partition|server at|host name|socket"
)
_NAMED = re.compile(rf"(?<![\w])(?:{_NOUNS})\s\"[\w.$:/-]{{1,128}}\"(?=[\s,.;:)]|$)", re.I)
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
    return cut(_clean(_mask_quoted(_one_line("\n".join(lines)))), original_characters=len(text))


def redact_value(text: str) -> str:
    """One line of application text, such as an error_message column; at most 1 kB of UTF-8."""
    return cut(_clean(_one_line(_bounded(text))), original_characters=len(text))


def redact_json(value: object) -> object:
    """A JSON value of the application with every string, key and long number in it redacted.

    Values under a key that names a secret or a contact are masked whole. A value whose redacted text would be
    over 1 kB comes back as that text, cut.
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
    """The text on one line, without control and direction-changing characters; nothing else is taken out."""
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
    """Mask from the first quote of a kind to the last: a value may hold quotes, and a cut one has no end."""
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
    """Twenty characters of mixed case and digits, or a part of sixteen with letters and digits.

    Paths and identifiers, whose parts are shorter or have no digits, are none.
    """
    if len(word) >= 20 and all(any(map(kind, word)) for kind in (str.isupper, str.islower, str.isdigit)):
        return True
    parts = re.split(r"[-_/+=]", word)
    return any(len(part) >= 16 and not part.isalpha() and not part.isdigit() for part in parts)


def _number(match: re.Match[str]) -> str:
    """Nine digits in groups make a telephone or card number, seven in a row a chat or account number."""
    if match[1]:
        return match[1]
    digits = sum(character.isdigit() for character in match[0])
    grouped = not match[0].lstrip("+").isdigit()
    return match[0] if grouped and digits < 9 else "<number>"


def _clean(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _WORD.sub(lambda match: match[0] if match[1] or not _looks_like_token(match[0]) else "<token>", text)
    return _DIGITS.sub(_number, text)
