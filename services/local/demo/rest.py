"""The demo's view of the REST API: answers come back as the structs that the API sends, refusals as one sentence."""

from collections.abc import Mapping
from typing import Self, TypeVar

import httpx
import msgspec

from shared.errors import DeksdenFlowError
from shared.schemas.problems import Problem

T = TypeVar("T")

_PATIENCE_S = 20.0


class DemoFailed(DeksdenFlowError):
    """The demo cannot go on; the text says why and, where it can, what to do."""


class Rest:
    """One API, spoken to over HTTP like anybody would; an `async with` closes its connections."""

    def __init__(self, base_url: str) -> None:
        # The person's proxy has no business on loopback.
        self._http = httpx.AsyncClient(base_url=base_url, timeout=_PATIENCE_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, kind: type[T], params: Mapping[str, int | str] | None = None) -> T:
        """Read something; DemoFailed with the problem's own words when that is refused."""
        return self._decoded(await self._asked("GET", path, params=dict(params or {})), kind)

    async def post(self, path: str, kind: type[T], body: msgspec.Struct | None = None) -> T:
        """Ask for an action; fields of the body that are at their default are left out."""
        given = {} if body is None else _named(body)
        return self._decoded(await self._asked("POST", path, body=given), kind)

    async def text(self, path: str) -> str:
        """Read something that is no JSON document, such as a log."""
        return (await self._asked("GET", path)).text

    async def _asked(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, int | str] | None = None,
        body: dict[str, object] | None = None,
    ) -> httpx.Response:
        try:
            response = await self._http.request(method, path, params=params, json=body)
        except httpx.HTTPError as error:
            raise DemoFailed(f"{method} {path}: the API does not answer ({type(error).__name__}: {error})") from error
        if response.is_success:
            return response
        raise DemoFailed(f"{method} {path} was answered {response.status_code}: {_problem(response)}")

    def _decoded(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.MsgspecError as error:
            asked = f"{response.request.method} {response.request.url.path}"
            raise DemoFailed(f"{asked} was answered with something else than expected: {error}") from error


def _named(body: msgspec.Struct) -> dict[str, object]:
    """The fields that say something, as a person would write them."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(body)}
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    said = {name: value for name, value in given.items() if value != defaults[name]}
    return {
        name: _named(value) if isinstance(value, msgspec.Struct) else msgspec.to_builtins(value)
        for name, value in said.items()
    }


def _problem(response: httpx.Response) -> str:
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        return response.text[:300]
    flaws = "; ".join(f"{flaw.field}: {flaw.message}" for flaw in problem.errors or ())
    return " ".join(part for part in (f"{problem.title}.", problem.detail, flaws) if part)
