"""Sends the head and the body of an answer together."""

import asyncio
from typing import Any

_LARGE_BYTES = 16 * 1024
"""What is as large as this is not held back."""


class GatheringTransport:
    """Holds a small write until the next one.

    Without one it goes with the next turn of the loop. uvicorn writes an answer's head and body one by one, and asyncio
    hands each to the kernel at once: that wakes the client twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        """Leave all else to the transport itself."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send with what is held, or hold.

        Nothing is the end of what is held, as after the head of a 304.
        """
        if self._held or len(data) >= _LARGE_BYTES:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not with the kernel yet."""
        return len(self._held) + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close once that all is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held = b""
        self._transport.abort()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)
