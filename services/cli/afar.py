"""What `doctor` asks the server: how the API, the webhook service and the worker are where they run."""

from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from services.cli.findings import Finding, State, ask
from services.cli.rest import find_connection
from shared.errors import UNREADABLE
from shared.schemas.answers import CheckAnswer, ServiceAnswer, ServicesAnswer
from shared.settings import PREFIX
from shared.web.health import Readiness

_FIXES: Final = {
    "database": "see that its disk is there, has room and may be written to; the service's log says more",
    "redis": f"start it, or mend {PREFIX}REDIS_URL where the services start; until then work is accepted and waits",
    "codex": "run `deksdenflow doctor` where the worker runs: it says what is wrong with Codex, its login or sandbox",
    "loop": "look at the worker's log, and start it again",
}


async def examine_server(environment: Mapping[str, str], api: str | None) -> list[Finding]:
    """The services as the server sees them; of the API alone where it does not tell us of the others."""
    connection = find_connection(environment, api)
    answer = await ask(f"{connection.url}/health/ready")
    if isinstance(answer, str):
        fix = f"start one with `deksdenflow up`, or set {PREFIX}API_BASE"
        return [_finding("api", "warn", f"none answers at {connection.url} ({answer})", fix)]
    try:
        ready = msgspec.json.decode(answer.content, type=Readiness)
    except UNREADABLE:
        return [_finding("api", "fail", f"{connection.url} is no DeksdenFlow", f"mend {PREFIX}API_BASE")]
    own = [CheckAnswer(name=name, ok=check.ok, detail=check.detail) for name, check in ready.checks.items()]
    found = told_of(ServiceAnswer(name="api", status=ready.status, address=connection.url, note="", checks=tuple(own)))
    answer = await ask(f"{connection.url}/services", connection.headers)
    return found + _others(answer)


def _others(answer: httpx.Response | str) -> list[Finding]:
    try:
        if isinstance(answer, str) or not answer.is_success:
            raise msgspec.DecodeError
        told = msgspec.json.decode(answer.content, type=ServicesAnswer)
    except UNREADABLE:
        text = "how the worker and the webhook service are, it tells the API's token alone"
        fix = f"set {PREFIX}API_TOKEN or {PREFIX}API_TOKEN_FILE; or run doctor where those services run"
        return [_finding("worker", "warn", text, fix)]
    return [finding for each in told.services if each.name != "api" for finding in told_of(each)]


def told_of(service: ServiceAnswer) -> list[Finding]:
    """What is to be said of a service."""
    at = f"{service.address} " if service.address else ""
    if service.status == "unknown":
        fix = "start it if it is not there; else run `deksdenflow doctor` where it runs, or ask its /health/ready"
        return [_finding(service.name, "warn", f"{at}is not known to the API. {service.note}", fix)]
    broken = [each for each in service.checks if not each.ok]
    if not broken:
        facts = " · ".join(f"{each.name}: {each.detail}" for each in service.checks if each.detail)
        return [_finding(service.name, "ok", f"{at}is ready{f' ({facts})' if facts else ''}")]
    return [
        _finding(
            service.name,
            "fail",
            f"{at}is not ready: {each.name}: {each.detail or 'it does not work'}",
            _FIXES.get(each.name, "look at the service's log"),
        )
        for each in broken
    ]


def _finding(name: str, state: State, text: str, fix: str = "") -> Finding:
    return Finding(name, state, text, fix, of="server")
