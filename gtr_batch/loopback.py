"""Ports of the loopback interface: processes of one machine that talk to one another."""

from __future__ import annotations

import ipaddress
import socket

HOST = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this machine; a name other than ``localhost`` does not count."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody accepts connections at a TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
