"""What /proc says of the processes that are stop targets."""

import contextlib
import os


def processes_of_runs():
    """token of a run → its processes that are not dead, by the environment they were started with."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as environ:
                words = environ.read().split(b"\0")
            token = next((w[20:].decode() for w in words if w.startswith(b"BRAKEWIRE_RUN_TOKEN=")), None)
            with open(f"/proc/{name}/stat", "rb") as stat:
                state = stat.read().rpartition(b") ")[2][:1]
            if token and state not in b"ZX":
                found.setdefault(token, []).append(int(name))
    return found
