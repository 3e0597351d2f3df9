"""SQL of the charts: sums over equal pieces of time, so that a page holds as many rows as it draws.

Each takes the pieces as `since` and `width` in milliseconds and gives their number from 0 on as `piece`; `project_id`
narrows. The indexes `…_by_time` hold every column that is summed, so that no row of a long table is read.
"""

from collections.abc import Sequence

import msgspec

from shared.repository.database import Row, Tx


class Span(msgspec.Struct, frozen=True):
    """What is charted: from when on, in pieces of this width, for one project or all."""

    since: int
    width: int
    project_id: int | None = None

    @property
    def params(self) -> tuple[int, int, int | None]:
        """As the statements number them."""
        return self.since, self.width, self.project_id


def steps_done(tx: Tx, span: Span) -> Sequence[Row]:
    """How many steps were completed."""
    return tx.rows(
        "SELECT (step.finished_at - ?1) / ?2 AS piece, count(*) AS count FROM step_runs AS step"
        " WHERE step.finished_at >= ?1 AND step.status = 'completed' AND (?3 IS NULL OR EXISTS ("
        "  SELECT 1 FROM protocol_runs AS run WHERE run.id = step.protocol_id AND run.project_id = ?3)) GROUP BY 1",
        span.params,
    )


def runs_ended(tx: Tx, span: Span) -> Sequence[Row]:
    """How many protocol runs ended, by `status`."""
    return tx.rows(
        "SELECT (finished_at - ?1) / ?2 AS piece, status, count(*) AS count FROM protocol_runs"
        " WHERE finished_at >= ?1 AND (?3 IS NULL OR project_id = ?3) GROUP BY 1, 2",
        span.params,
    )


def durations(tx: Tx, span: Span) -> Sequence[Row]:
    """How long half and nine tenths of the executions that succeeded took at most, in milliseconds: `p50`, `p90`."""
    return tx.rows(
        "WITH took AS (SELECT (started_at - ?1) / ?2 AS piece, finished_at - started_at AS ms FROM attempts"
        "  WHERE started_at >= ?1 AND kind = 'execute_step_job' AND state = 'succeeded'"
        "  AND (?3 IS NULL OR project_id = ?3)),"
        " ranked AS (SELECT piece, ms, row_number() OVER (PARTITION BY piece ORDER BY ms) AS place,"
        "  count(*) OVER (PARTITION BY piece) AS count FROM took)"
        " SELECT piece, max(count) AS count, min(iif(place * 2 >= count, ms, NULL)) AS p50,"
        " min(iif(place * 10 >= count * 9, ms, NULL)) AS p90 FROM ranked GROUP BY piece",
        span.params,
    )


def verdicts(tx: Tx, span: Span) -> Sequence[Row]:
    """How many commits QA (`name` is qa) and the CI (ci) passed and failed, by `state`."""
    return tx.rows(
        "SELECT (gate.updated_at - ?1) / ?2 AS piece, gate.name, gate.state, count(*) AS count FROM gates AS gate"
        " WHERE gate.updated_at >= ?1 AND gate.name IN ('qa', 'ci') AND gate.state IN ('passed', 'failed')"
        " AND (?3 IS NULL OR EXISTS (SELECT 1 FROM step_runs AS step JOIN protocol_runs AS run"
        "  ON run.id = step.protocol_id WHERE step.id = gate.step_id AND run.project_id = ?3)) GROUP BY 1, 2, 3",
        span.params,
    )


def tokens(tx: Tx, span: Span) -> Sequence[Row]:
    """How many tokens agents read and wrote, by model and project; `model` may be empty."""
    return tx.rows(
        "SELECT spent.piece, spent.model, project.name AS project, spent.count FROM ("
        "  SELECT (started_at - ?1) / ?2 AS piece, model, project_id, sum(input_tokens + output_tokens) AS count"
        "  FROM attempts WHERE started_at >= ?1 AND (?3 IS NULL OR project_id = ?3) GROUP BY 1, 2, 3) AS spent"
        " JOIN projects AS project ON project.id = spent.project_id ORDER BY spent.piece",
        span.params,
    )
