"""SQL of the names of what a list points to: one statement for each kind of thing, however long the list."""

from collections.abc import Iterable

import msgspec

from shared.repository.database import Tx, as_json


class StepLabel(msgspec.Struct, frozen=True):
    """A step's place and name."""

    step_index: int
    step_name: str


class Labels(msgspec.Struct, frozen=True):
    """Names by id; what is gone or was not asked for has none."""

    projects: dict[int, str]
    protocols: dict[int, str]
    steps: dict[int, StepLabel]


def labels(
    tx: Tx, projects: Iterable[int | None], protocols: Iterable[int | None], steps: Iterable[int | None]
) -> Labels:
    """The names of these; None among the ids is left out."""
    named = tx.rows("SELECT id, name FROM projects WHERE id IN (SELECT value FROM json_each(?))", (_ids(projects),))
    runs = tx.rows(
        "SELECT id, protocol_name FROM protocol_runs WHERE id IN (SELECT value FROM json_each(?))", (_ids(protocols),)
    )
    found = tx.rows(
        "SELECT id, step_index, step_name FROM step_runs WHERE id IN (SELECT value FROM json_each(?))", (_ids(steps),)
    )
    return Labels(
        projects={row["id"]: row["name"] for row in named},
        protocols={row["id"]: row["protocol_name"] for row in runs},
        steps={row["id"]: StepLabel(row["step_index"], row["step_name"]) for row in found},
    )


def _ids(ids: Iterable[int | None]) -> str:
    return as_json(sorted({each for each in ids if each is not None}))
