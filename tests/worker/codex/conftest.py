"""A ground to run Codex on, and somebody who listens."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.worker.codex.ground import Ground, Heard


@pytest.fixture
def ground() -> Iterator[Ground]:
    # Codex refuses to keep its own programs below /tmp.
    with TemporaryDirectory(prefix="deksdenflow-test-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        yield Ground(Path(folder))


@pytest.fixture
def heard() -> Heard:
    return Heard()
