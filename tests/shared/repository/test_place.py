"""Where a database may lie: the file system of a folder, and which of them are refused."""

from pathlib import Path

import pytest

from shared.repository.place import NETWORK_FILE_SYSTEMS, file_system_of

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
24 23 0:40 / /mnt/data rw,relatime - nfs4 server:/export rw
25 24 8:2 / /mnt/data/local rw,relatime - xfs /dev/sdb rw
26 23 0:41 / /mnt/with\040space rw,relatime - fuse.sshfs host: rw
27 23 0:42 / /mnt/dat rw,relatime - cifs //host/share rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/srv/app", "ext4"),
        ("/mnt/data", "nfs4"),
        ("/mnt/data/deep/er", "nfs4"),
        ("/mnt/data/local/x", "xfs"),
        ("/mnt/database", "ext4"),
        ("/mnt/with space/x", "fuse.sshfs"),
        ("/mnt/dat", "cifs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(folder: str, kind: str):
    assert file_system_of(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "virtiofs", "ceph"])
def test_network_file_systems_are_known(kind: str):
    assert kind.startswith(NETWORK_FILE_SYSTEMS)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs", ""])
def test_local_file_systems_are_welcome(kind: str):
    assert not kind.startswith(NETWORK_FILE_SYSTEMS)
