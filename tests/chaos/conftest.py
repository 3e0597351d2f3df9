"""A folder for a workshop, as the worker's tests have it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def ground_floor() -> Iterator[Path]:
    """Outside of /tmp, below which Codex keeps no programs of its own."""
    with TemporaryDirectory(prefix="deksdenflow-test-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
