"""Refuses all calls that would leave this machine, and writes them to the file SOFTGATE_OUTWARD.

Every Python whose PYTHONPATH names this folder loads this file, and so do its children and forks.
"""

import os
import sys
from typing import Any

CALLS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
    "socket.getnameinfo": 0,
}
"""Events of Python's audit hooks, and which of their arguments is the address or the host."""


def is_here(address: Any) -> bool:
    """Whether an address is this machine's own: loopback, or not of a network at all."""
    if isinstance(address, tuple):
        address = address[0] if address else None
    if isinstance(address, bytes):
        address = address.decode(errors="replace")
    if not isinstance(address, str) or address == "" or address.startswith(("/", "\0")):
        return True  # the default, the kernel's own, or the path of a socket
    return address in ("localhost", "::1", "0.0.0.0", "::") or address.startswith("127.")


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    where = CALLS.get(event)
    if where is None or is_here(arguments[where]):
        return
    with open(os.environ["SOFTGATE_OUTWARD"], "a") as file:
        file.write(f"{event} {arguments[where]!r}\n")
    raise PermissionError(f"{event} {arguments[where]!r} would leave this machine")


if "SOFTGATE_OUTWARD" in os.environ:
    sys.addaudithook(watch)
