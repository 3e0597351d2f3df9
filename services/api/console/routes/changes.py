"""A page of a patch, whosever it is: a step's or the whole branch's."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final

from litestar.params import QueryParameter

from services.api.attempt_files import Part, read_part
from services.api.auth import ApiRequest
from services.api.console import diffs
from services.api.console.pages import Page, Pages
from services.api.desk import Desk
from services.api.params import LAST_ID
from shared.schemas.records import Attempt

# The worker cuts patches at 5 MB, and says so in a last line.
MOST_BYTES: Final = 5_100_000
ROOM: Final = 500

DiffFile = Annotated[int, QueryParameter(ge=0, le=LAST_ID, description="The first file that is shown, from 0.")]
DiffLine = Annotated[int, QueryParameter(ge=0, le=LAST_ID, description="The first line of it that is shown, from 0.")]


async def show_changes(
    request: ApiRequest,
    desk: Desk,
    pages: Pages,
    attempt: Attempt | None,
    *,
    whole: bool,
    file: int,
    line: int,
    **shown: Any,
) -> Page:
    """Some of the lines of the attempt's patch; `whole` is that of its branch up to there."""
    view = await changes_of(desk, attempt, whole=whole, room=ROOM, file=file, line=line)
    at_start = not request.query_params
    return pages.show(request, "diff.html", view=view, attempt=attempt, at_start=at_start, **shown)


async def changes_of(
    desk: Desk, attempt: Attempt | None, *, whole: bool, room: int, file: int = 0, line: int = 0
) -> diffs.View | None:
    """The attempt's patch as a page; None where there is none."""
    if attempt is None:
        return None
    part = Part.BRANCH if whole else Part.DIFF
    return await asyncio.to_thread(
        _view, desk.settings.workspaces_dir, attempt.directory, part, room=room, file=file, line=line
    )


def _view(workspaces: Path, directory: str | None, part: Part, *, room: int, file: int, line: int) -> diffs.View | None:
    piece = read_part(workspaces, directory, part, offset=0, limit=MOST_BYTES, tail=False)
    return None if piece is None else diffs.view(diffs.split(piece.text), room=room, file=file, line=line)
