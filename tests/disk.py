"""Where tests that make and remove many files put them: in memory, where this machine has room for that."""

import os
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4_000_000_000


def quick_disk(memory: Path = MEMORY) -> str | None:
    """A folder in memory; None where there is none of use, which is the usual place for temporary folders.

    An ext4 from which much was just deleted looks long for each free inode: three quarters of the time of a checkout.
    What an agent is to see must lie elsewhere, since its sandbox has a `/dev` of its own.
    """
    try:
        fits = has_room(os.statvfs(memory)) and os.access(memory, os.W_OK)
    except OSError:
        return None
    return str(memory) if fits else None


def has_room(disk: os.statvfs_result) -> bool:
    """Whether files fit there and run: in a container it often has little room, and lets no program run."""
    return not disk.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) and disk.f_bavail * disk.f_frsize >= ROOM_BYTES
