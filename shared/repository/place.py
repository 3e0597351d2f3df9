"""Where a database lies: on a local file system, as the kernel's list of mounts tells, and out of others' sight."""

import contextlib
import os
import re
from pathlib import Path

from shared.errors import StartupError

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse", "virtiofs", "afs", "ceph", "glusterfs")


def file_system_of(folder: Path, mountinfo: str) -> str:
    """The kind of file system that holds the folder, by the text of /proc/self/mountinfo; "" when it does not tell."""
    best, kind = "", ""
    for line in filter(None, mountinfo.split("\n")):
        before, _, after = line.partition(" - ")
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if len(mount) >= len(best) and folder.is_relative_to(mount):
            best, kind = mount, after.split()[0]
    return kind


def check_file_system(path: Path) -> None:
    """StartupError for a path on a network file system."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return
    text = mounts.read_bytes().decode("latin-1")  # octets as they are in the escapes, so that any name compares
    folder = Path(os.fsencode(path.resolve().parent).decode("latin-1"))
    if (kind := file_system_of(folder, text)).startswith(NETWORK_FILE_SYSTEMS):
        message = f"{path} lies on {kind}, where SQLite can be corrupted; put DEKSDENFLOW_DB_PATH on a local disk"
        raise StartupError(message)


def make_file(path: Path) -> None:
    """Make a new database's file, for its owner alone; SQLite gives the files beside it the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
