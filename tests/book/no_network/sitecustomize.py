"""On the module path while the notebooks are re-run: every process may reach only this machine.

A notebook that downloads something fails here as it would for a reader without a network.
"""

import socket
from typing import Any

LOCAL = (None, "", "127.0.0.1", "::1", "localhost")
_connect = socket.socket.connect
_getaddrinfo = socket.getaddrinfo


def _local_connect(self: socket.socket, address: Any) -> None:
    if isinstance(address, tuple) and address[0] not in LOCAL:
        raise OSError(f"no network in tests: refused {address[0]}")
    _connect(self, address)


def _local_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in LOCAL and name != "0.0.0.0":
        raise OSError(f"no network in tests: refused {name}")
    return _getaddrinfo(host, *args, **kwargs)


socket.socket.connect = _local_connect  # type: ignore[method-assign]
socket.getaddrinfo = _local_getaddrinfo
