"""Where tests that make and remove many files put them: in memory, where this machine has room for that."""

import os
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4_000_000_000


def quick_disk() -> str | None:
    """A folder in memory; None where there is none with room, which is the usual place for temporary folders.

    An ext4 from which much was just deleted looks long for each free inode: three quarters of the time of a checkout.
    What an agent is to see must lie elsewhere, since its sandbox has a `/dev` of its own.
    """
    try:
        room = os.statvfs(MEMORY)
    except OSError:
        return None
    return str(MEMORY) if room.f_bavail * room.f_frsize >= ROOM_BYTES else None
