"""Failpoints: the process dies there and nowhere else."""

import signal
import subprocess
import sys

import pytest

from shared.failpoints import Failpoints

STORY = (
    "from shared.failpoints import arm, fp; arm({spec!r}); fp('other')\nfor n in range(3): fp('before_claim'); print(n)"
)


def story(spec: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-u", "-c", STORY.format(spec=spec)], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("spec", "printed"),
    [
        ("before_claim", ""),
        ("before_claim:1", ""),
        ("before_claim:3", "0\n1\n"),
        ("nowhere,before_claim:2,before_claim_job", "0\n"),
    ],
)
def test_the_process_dies_at_the_armed_point_the_nth_time(spec: str, printed: str):
    end = story(spec)
    assert (end.returncode, end.stdout) == (-signal.SIGKILL, printed)
    assert end.stderr == "\nfailpoint before_claim\n", "its last word"


@pytest.mark.parametrize("spec", [None, "", "after_claim", "before_claim:4"])
def test_nothing_happens_at_points_that_are_not_armed(spec: str | None):
    end = story(spec)
    assert (end.returncode, end.stdout) == (0, "0\n1\n2\n")


def test_a_point_can_be_disarmed():
    points = Failpoints()
    points.arm("here")
    points.arm(None)
    points.reach("here")
