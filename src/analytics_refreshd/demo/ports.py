"""Hold a port while the demo loads."""

import errno
import socket

from analytics_refreshd.demo import DemoError

HOST = "127.0.0.1"


def held_port(wanted: int | None, usual: int, option: str) -> socket.socket:
    """Return a listening socket on the wanted port.

    Without a wanted one, on the usual port or any free one. Raises DemoError.
    It listens, so that a second demo cannot choose the same port while this one still loads.
    """
    for port in (usual, 0) if wanted is None else (wanted,):
        holder = socket.socket()
        # As the HTTP server does, so that a connection that has just ended does not keep the port taken.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, port))
            holder.listen()
        except OSError as error:
            holder.close()
            if error.errno == errno.EACCES:
                raise DemoError(
                    f"Port {port} on {HOST} may not be used by this user: choose one from 1024 on with {option}, or "
                    "leave it out"
                ) from error
            continue
        return holder
    raise DemoError(f"Port {wanted} on {HOST} is taken: choose another with {option}, or leave it out")
