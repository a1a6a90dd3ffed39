"""The guard under which the notebooks are re-run lets this machine through and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

GUARD = Path(__file__).parent / "no_network"

# The first address belongs to a block reserved for documentation; the guard stops before a packet.
CODE = """
import socket
for host in ("192.0.2.1", "example.invalid"):
    try:
        socket.create_connection((host, 80), timeout=1)
    except OSError as error:
        print(type(error).__name__, str(error))
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), timeout=5).close()
print("local works")
"""


def test_guard_refuses_every_other_machine() -> None:
    result = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(GUARD)}, timeout=60,
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "OSError no network in tests: refused 192.0.2.1", result.stderr
    assert lines[1] == "OSError no network in tests: refused example.invalid"
    assert lines[2] == "local works"
