"""Text to and from databases of any encoding."""

import codecs
import unicodedata
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader

_TEXT_TYPES = (0, "text", "varchar", "bpchar", "name", '"char"')
"""The types that psycopg loads as text. Type 0 stands for all that it does not know, such as enumerations."""
_CODECS = {"KOI8R": "koi8_r", "KOI8U": "koi8_u"}
_COMMON_BYTES = 2
"""Python's codecs of East Asia have longer sequences that PostgreSQL's lack."""
_DISPUTED = frozenset("\u00a2\u00a3\u00a5\u00ac\u2015\u2016\u203e\u2212\u2985\u2986\u301c\uffe3\uffe5")
"""Characters that Python and PostgreSQL place differently in Japanese encodings."""


def adapt_text(connection: psycopg.Connection[Any]) -> str:
    """Adapt `connection` to the server's encoding; return the client_encoding that it needs.

    A character that the server's encoding lacks is sent as the nearest one that it has, else as a question mark: an
    alert with a question mark is better than none. A SQL_ASCII database may hold bytes of any encoding, and refuses to
    send them as UTF8. So they come as LATIN1, which has every byte, and each text is read as UTF-8 if it is that.
    """
    server_encoding = connection.info.parameter_status("server_encoding") or "UTF8"
    any_bytes = server_encoding == "SQL_ASCII"
    connection.adapters.register_dumper(str, _dumper("utf-8" if any_bytes else codec_of(server_encoding)))
    if any_bytes:
        for kind in _TEXT_TYPES:
            connection.adapters.register_loader(kind, _AnyTextLoader)
    return "LATIN1" if any_bytes else "UTF8"


def codec_of(server_encoding: str) -> str:
    """Return Python's codec for a PostgreSQL encoding.

    It is ASCII where Python has none: all of the server's encodings contain that.
    """
    name = _CODECS.get(server_encoding, server_encoding.replace("WIN", "cp"))
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "ascii"


def storable(text: str, codec: str) -> str:
    """Replace what `codec` cannot encode."""
    if text.isascii():
        return text
    if codec == "utf-8":
        return text.encode(codec, "replace").decode(codec)
    return "".join(character if _fits(character, codec) else _nearest(character, codec) for character in text)


def _fits(character: str, codec: str) -> bool:
    """Tell whether the server's encoding has the character; a test compares this with every server."""
    try:
        encoded = character.encode(codec)
    except UnicodeEncodeError:
        return False
    return len(encoded) <= _COMMON_BYTES and not (codec.startswith("euc_j") and character in _DISPUTED)


def _nearest(character: str, codec: str) -> str:
    """Decompose a character into what `codec` has: an ellipsis into dots, a letter with an accent into the letter."""
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in parts if part != character and _fits(part, codec)) or "?"


def _dumper(codec: str) -> type[Dumper]:
    """Make the dumper of text for one server encoding; the protocol's own encoding is UTF-8."""

    class StorableTextDumper(Dumper):
        def dump(self, obj: str) -> Buffer:
            if "\0" in obj:
                raise psycopg.DataError("PostgreSQL text cannot contain NUL (0x00)")
            return storable(obj, codec).encode()

    return StorableTextDumper


class _AnyTextLoader(Loader):
    """Loads text of an unknown encoding: UTF-8 if it is that, else LATIN1, which any bytes are."""

    def load(self, data: Buffer) -> str:
        content = bytes(data)
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content.decode("latin-1")
