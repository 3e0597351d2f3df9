"""Charts: how much was done, how long it took, how it was judged and what it cost, over time."""

from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from services.api.auth import ApiRequest
from services.api.console.charts import RANGES, all_charts
from services.api.console.pages import Page, Pages
from services.api.console.text import as_time
from services.api.desk import Desk
from shared.errors import Invalid
from shared.repository import charts as table
from shared.repository.database import Tx


@get("/charts")
async def show_charts(
    request: ApiRequest,
    desk: NamedDependency[Desk],
    pages: NamedDependency[Pages],
    over: FromQuery[str] = RANGES[1].name,
) -> Page:
    """The charts of a day, a week or a month; a project token sees its project's."""
    chosen = next((each for each in RANGES if each.name == over), None)
    if chosen is None:
        raise Invalid(f"over: one of {', '.join(each.name for each in RANGES)}.")

    def read(tx: Tx) -> dict[str, Any]:
        span = table.Span(chosen.since(tx.now), chosen.width, request.user.project_id)
        found = {
            "steps_done": table.steps_done(tx, span),
            "runs_ended": table.runs_ended(tx, span),
            "durations": table.durations(tx, span),
            "verdicts": table.verdicts(tx, span),
            "tokens": table.tokens(tx, span),
        }
        return {"charts": all_charts(found, chosen, as_time(tx.now))}

    return pages.show(request, "charts.html", ranges=RANGES, chosen=chosen, **await desk.database.read(read))


ROUTES = [show_charts]
