"""What the worker's tests may ask for: a workshop with a model that plays what the test wrote."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def ground_floor() -> Iterator[Path]:
    """A folder for a workshop; Codex keeps its own programs nowhere below /tmp."""
    with TemporaryDirectory(prefix="deksdenflow-test-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
