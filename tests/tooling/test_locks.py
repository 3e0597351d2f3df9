"""The locks: complete, hashed, each within the next, and naming no place to download from."""

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-codex.lock", "requirements-dev.lock")
PEERS = tuple(str(path.relative_to(ROOT).with_suffix(".lock")) for path in sorted((ROOT / "bench/peers").glob("*.in")))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def entries(lock: str) -> dict[str, frozenset[str]]:
    """`name==version ; marker` to its hashes."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    parts = (re.split(r"\s+--hash=", line) for line in text.splitlines() if line)
    return {head.strip(): frozenset(hash_.strip() for hash_ in hashes) for head, *hashes in parts}


@pytest.mark.parametrize("lock", [*LOCKS, *PEERS])
def test_a_lock_names_versions_and_hashes_and_nothing_else(lock: str) -> None:
    for head, hashes in entries(lock).items():
        requirement = Requirement(head)
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), head
        assert requirement.url is None, head
        assert hashes, head
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", hash_) for hash_ in hashes), head


@pytest.mark.parametrize(("smaller", "larger"), [(LOCKS[0], LOCKS[1]), (LOCKS[1], LOCKS[2])])
def test_each_lock_lies_within_the_next(smaller: str, larger: str) -> None:
    assert entries(smaller).items() <= entries(larger).items()


def wanted(lock: str) -> list[str]:
    if lock not in LOCKS:
        return (ROOT / lock).with_suffix(".in").read_text().split()
    everything = list(PROJECT["project"]["dependencies"])
    if lock != LOCKS[0]:
        everything += PROJECT["project"]["optional-dependencies"]["codex"]
    if lock == LOCKS[2]:
        everything += PROJECT["dependency-groups"]["dev"]
    return everything


@pytest.mark.parametrize("lock", [*LOCKS, *PEERS])
def test_a_lock_has_what_the_project_asks_for(lock: str) -> None:
    locked = {canonicalize_name(r.name): r for r in map(Requirement, entries(lock))}
    for text in wanted(lock):
        asked = Requirement(text)
        version = str(locked[canonicalize_name(asked.name)].specifier).removeprefix("==")
        assert asked.specifier.contains(version, prereleases=True), (
            f"{lock}: {asked} is locked at {version}; run make lock"
        )
