"""Runs a command in a network namespace of its own: `unshare --net python alone.py COMMAND ...`.

The namespace has loopback and no route. The last line on stderr is the number of packets that found
no route. It counts packets of all programs, not only of Python.
"""

import fcntl
import socket
import struct
import subprocess
import sys
from pathlib import Path

SET_FLAGS, UP = 0x8914, 1  # SIOCSIFFLAGS, IFF_UP


def without_route() -> int:
    four = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
    names, values = (words for words in four if words[0] == "Ip:")
    count = int(values[names.index("OutNoRoutes")])
    for line in Path("/proc/net/snmp6").read_text().splitlines():
        if line.startswith("Ip6OutNoRoutes"):
            count += int(line.split()[1])
    return count


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14s", b"lo", UP, b""))
done = subprocess.run(sys.argv[1:])
print(without_route(), file=sys.stderr)
sys.exit(done.returncode)
