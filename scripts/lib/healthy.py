"""Does the relay of this container serve? `python healthy.py [PORT]`: exit status 0 when /healthz says so. Standard library only."""

from __future__ import annotations

import http.client
import sys
from contextlib import closing

PORT = 8084


def main(port: int = PORT) -> int:
    """The exit status. Goes to this machine directly, whatever proxies the environment names."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=4)) as connection:
        try:
            connection.request("GET", "/healthz", headers={"Host": "localhost"})
            return int(connection.getresponse().status != 200)
        except (OSError, http.client.HTTPException):
            return 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
