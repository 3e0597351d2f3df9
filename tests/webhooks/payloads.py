"""Payload files for the webhook tests: our own, which are always there, and published ones where a folder has them."""

import json
import os
from pathlib import Path

import msgspec

OWN = Path(__file__).parent / "fixtures"

GITLAB_HEADERS = {
    "pipeline": "Pipeline Hook",
    "build": "Job Hook",
    "merge_request": "Merge Request Hook",
    "push": "Push Hook",
    "tag_push": "Tag Push Hook",
    "note": "Note Hook",
}

# Read when the tests are collected: a fixture clears our names from the environment later.
PUBLISHED = Path(os.environ.get("DEKSDENFLOW_PAYLOADS_DIR", Path(__file__).parents[3] / "shared" / "payloads"))


class Payload(msgspec.Struct, frozen=True):
    """One delivery's body, and the event that its header names."""

    file: Path
    provider: str
    event: str

    def __str__(self) -> str:
        return f"{self.provider}-{self.file.stem}"

    def read(self) -> bytes:
        return self.file.read_bytes()


def own() -> list[Payload]:
    """`<provider>.<event>.json` for GitHub, `<provider>.<object_kind>.json` for GitLab."""
    return [payload(file, *file.name.split(".")[:2]) for file in sorted(OWN.glob("*.json"))]


def published() -> list[Payload]:
    """What other projects publish, if the folder is there."""
    manifest = PUBLISHED / "manifest.json"
    if not manifest.is_file():
        return []
    entries = json.loads(manifest.read_bytes())
    return [payload(PUBLISHED / entry["path"], entry["path"].split("/")[0], entry["event"]) for entry in entries]


def payload(file: Path, provider: str, event: str) -> Payload:
    return Payload(file, provider, GITLAB_HEADERS.get(event, "System Hook") if provider == "gitlab" else event)
