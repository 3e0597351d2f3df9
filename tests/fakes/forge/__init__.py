"""GitHub and GitLab on loopback, under any host names: their API, git over https, webhooks out, and faults by plan.

async with FakeForge(tmp_path) as forge:
    repo = forge.repository("github", "forge.test:8443", "acme/pears", token="a-token")
    for name, value in forge.environment.items():
        monkeypatch.setenv(name, value)    # a proxy and a CA: git and httpx reach every host of the fake by these
"""

from tests.fakes.forge.repository import Check, Comment, Pull, Repository, Run, Status
from tests.fakes.forge.server import FakeForge
from tests.fakes.forge.wire import CUT, HANG, Answer, Asked

__all__ = [
    "CUT",
    "HANG",
    "Answer",
    "Asked",
    "Check",
    "Comment",
    "FakeForge",
    "Pull",
    "Repository",
    "Run",
    "Status",
]
