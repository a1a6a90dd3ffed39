"""On the module path while the notebooks are checked: every process may reach only this machine.

A notebook that downloads something fails here as it would for a reader without a network.
"""

import socket
from typing import Any

LOCAL = ("127.0.0.1", "::1", "localhost")
_connect = socket.socket.connect


def _local_only(self: socket.socket, address: Any) -> None:
    if isinstance(address, tuple) and address[0] not in LOCAL:
        raise OSError(f"no network in tests: refused {address[0]}")
    _connect(self, address)


socket.socket.connect = _local_only  # type: ignore[method-assign]
