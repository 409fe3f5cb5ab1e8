"""IP addresses, however they are written.

>>> ip_of("127.1"), ip_of("0x7f000001"), ip_of("::ffff:127.0.0.1"), ip_of("localhost")
(IPv4Address('127.0.0.1'), IPv4Address('127.0.0.1'), IPv4Address('127.0.0.1'), None)
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

type Ip = IPv4Address | IPv6Address

_NUMBER = re.compile(r"0x[0-9a-f]+|\d+", re.ASCII)


def ip_of(host: str) -> Ip | None:
    """The address that a host is, however it is written: `127.1` and `0x7f000001` are 127.0.0.1; None for a name."""
    try:
        number = ip_address(host.partition("%")[0])
    except ValueError:
        return _odd_ip(host)
    return number.ipv4_mapped or number if isinstance(number, IPv6Address) else number


def _odd_ip(host: str) -> IPv4Address | None:
    """What `inet_aton` takes besides: one to four numbers, decimal, octal or hexadecimal, of which the last fills what is left."""
    parts = host.lower().split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return None
    try:
        *first, last = [int(p, 8 if len(p) > 1 and p[0] == "0" and p[1] != "x" else 0) for p in parts]
    except ValueError:
        return None
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return None
    return IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(first)) + last)
