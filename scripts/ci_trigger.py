#!/usr/bin/env python3
"""Asks DeksdenFlow for a CI run of a protocol's branch.

    ci_trigger.py --protocol 7 | --project 1 --branch 0001-pears   [--workflow ci.yml] [--input NAME=VALUE]

The address is DEKSDENFLOW_API_BASE (the public origin, or the API itself) or --base; the token DEKSDENFLOW_API_TOKEN,
or a project's in DEKSDENFLOW_PROJECT_TOKEN. The exit code is 0 when the forge has taken it, 1 when not (or when no
worker has asked it within --wait seconds), 2 when the call itself is wrong. Needs nothing but Python's own library.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

TIMEOUT_S = 60
LOOK_EVERY_S = 0.5
PAGE = 500


class NotTriggeredError(Exception):
    """No CI run comes of it; the text says why."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leads nowhere: the token is for the address that was named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect."""


class Api:
    """The API of one installation."""

    def __init__(self, base: str, headers: dict[str, str]) -> None:
        self._base, self._headers = base.rstrip("/"), headers
        self._opener = urllib.request.build_opener(NoRedirect)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The decoded answer; anything else than a success is a `NotTriggeredError`."""
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | {"content-type": "application/json"}
        request = urllib.request.Request(self._base + path, data, headers, method=method)  # noqa: S310  main checks the scheme
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise NotTriggeredError(f"{error.code} {_detail(error.read(4096))}") from error
        except (OSError, ValueError) as error:  # ValueError: the answer is no JSON
            raise NotTriggeredError(f"{method} {self._base}{path}: {error}") from error


def protocol_of(api: Api, project_id: int, branch: str) -> int:
    """The id of the protocol run on this branch."""
    path, found = f"/projects/{project_id}/protocols?limit={PAGE}", []
    for protocol in api.ask("GET", path):
        found += [protocol["id"]] if protocol["branch"] == branch else []
    if not found:
        raise NotTriggeredError(f"project {project_id} has no protocol run on the branch {branch!r}")
    return found[-1]


def done(api: Api, job: dict[str, Any], wait_s: float) -> dict[str, Any]:
    """The job once it has succeeded."""
    end = time.monotonic() + wait_s
    while job["status"] in {"queued", "running"}:
        if time.monotonic() > end:
            raise NotTriggeredError(f"job {job['id']} is still {job['status']} after {wait_s:g} s; does a worker run?")
        time.sleep(LOOK_EVERY_S)
        job = api.ask("GET", f"/queues/jobs/{job['id']}")
    if job["status"] != "succeeded":
        raise NotTriggeredError(f"job {job['id']} {job['status']}: {job['error']}")
    return job


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What was asked for; argparse ends with 2 where that cannot be."""
    parser = argparse.ArgumentParser(description="Ask DeksdenFlow for a CI run of a protocol's branch.")
    parser.add_argument("--protocol", type=int, default=os.environ.get("DEKSDENFLOW_PROTOCOL_RUN_ID") or None)
    parser.add_argument("--project", type=int, help="with --branch: the project whose branch it is")
    parser.add_argument("--branch", default=os.environ.get("DEKSDENFLOW_BRANCH") or None)
    parser.add_argument("--workflow", help="GitHub: the file name of the workflow")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    parser.add_argument("--wait", type=float, default=120, help="seconds for the worker to ask the forge (120)")
    parser.add_argument("--base", default=os.environ.get("DEKSDENFLOW_API_BASE", ""), help="where the API answers")
    asked = parser.parse_args(argv)
    if not asked.base.startswith(("https://", "http://")):
        parser.error("set DEKSDENFLOW_API_BASE, or --base, to an address that starts with https:// or http://")
    if asked.protocol is None and None in {asked.project, asked.branch}:
        parser.error("name --protocol, or --project and --branch")
    if not all("=" in each for each in asked.input):
        parser.error("--input takes NAME=VALUE")
    return asked


def main(argv: Sequence[str]) -> int:
    """Ask, and tell in one line what came of it."""
    asked = arguments(argv)
    tokens = {"authorization": "API_TOKEN", "x-project-token": "PROJECT_TOKEN"}
    given = {header: os.environ.get(f"DEKSDENFLOW_{name}", "") for header, name in tokens.items()}
    bearer = {name: f"Bearer {text}" if name == "authorization" else text for name, text in given.items() if text}
    api = Api(asked.base, bearer)
    inputs = dict(each.split("=", 1) for each in asked.input)
    body = {name: value for name, value in (("workflow", asked.workflow), ("inputs", inputs)) if value}
    try:
        protocol = asked.protocol or protocol_of(api, asked.project, asked.branch)
        job = done(api, api.ask("POST", f"/protocols/{protocol}/actions/trigger_ci", body), asked.wait)
    except NotTriggeredError as error:
        sys.stderr.write(f"ci_trigger: not triggered: {' '.join(str(error).split())}\n")
        return 1
    url = (job["result"] or {}).get("url")
    sys.stdout.write(f"ci_trigger: triggered for protocol {protocol}{f': {url}' if url else ''}\n")
    return 0


def _detail(text: bytes) -> str:
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
