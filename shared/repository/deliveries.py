"""SQL of the tables hooks, hook_secrets and deliveries."""

from collections.abc import Sequence

from msgspec.structs import replace

from shared.repository.database import Tx, as_json
from shared.schemas.forge import PROTOCOL_HEADER
from shared.schemas.records import Delivery, Hook, HookSecret
from shared.schemas.statuses import DeliveryStatus, Provider


def add_hook(tx: Tx, project_id: int, provider: Provider, key: str) -> Hook:
    """Store a hook under its random key."""
    hook_id = tx.insert(
        "INSERT INTO hooks (project_id, provider, key, created_at) VALUES (?, ?, ?, ?)",
        (project_id, provider, key, tx.now),
    )
    hook = get_hook(tx, hook_id)
    if hook is None:
        raise LookupError(f"hook {hook_id}")
    return hook


def get_hook(tx: Tx, hook_id: int) -> Hook | None:
    """One hook."""
    return tx.load(Hook, "SELECT * FROM hooks WHERE id = ?", (hook_id,))


def hook_by_key(tx: Tx, provider: Provider, key: str) -> Hook | None:
    """The live hook with this key."""
    return tx.load(Hook, "SELECT * FROM hooks WHERE key = ? AND provider = ? AND disabled_at IS NULL", (key, provider))


def hooks_of(tx: Tx, project_id: int) -> Sequence[Hook]:
    """The hooks of a project."""
    return tx.load_all(Hook, "SELECT * FROM hooks WHERE project_id = ? ORDER BY id", (project_id,))


def hooks_without_secret(tx: Tx) -> Sequence[Hook]:
    """The live hooks that accept nothing."""
    return tx.load_all(
        Hook,
        "SELECT * FROM hooks WHERE disabled_at IS NULL AND NOT EXISTS (SELECT 1 FROM hook_secrets WHERE hook_id ="
        " hooks.id AND (valid_until IS NULL OR valid_until > ?)) ORDER BY id",
        (tx.now,),
    )


def disable_hook(tx: Tx, hook_id: int) -> None:
    """End a hook now."""
    tx.run("UPDATE hooks SET disabled_at = ? WHERE id = ?", (tx.now, hook_id))


def add_hook_secret(tx: Tx, hook_id: int, scheme: str, sealed: bytes, *, others_until: int) -> None:
    """Give a hook a new secret; its present ones, of any scheme, end at `others_until`."""
    tx.run(
        "UPDATE hook_secrets SET valid_until = ? WHERE hook_id = ? AND (valid_until IS NULL OR valid_until > ?)",
        (others_until, hook_id, others_until),
    )
    tx.run(
        "INSERT INTO hook_secrets (hook_id, scheme, sealed, created_at) VALUES (?, ?, ?, ?)",
        (hook_id, scheme, sealed, tx.now),
    )


def hook_secrets(tx: Tx, hook_id: int) -> Sequence[HookSecret]:
    """A hook's secrets that are valid now, still sealed, newest first."""
    return tx.load_all(
        HookSecret,
        "SELECT * FROM hook_secrets WHERE hook_id = ? AND (valid_until IS NULL OR valid_until > ?) ORDER BY id DESC",
        (hook_id, tx.now),
    )


def add(tx: Tx, delivery: Delivery) -> Delivery | None:
    """Store a delivery once; None when this hook already has one with this key."""
    row = tx.row(
        "INSERT INTO deliveries (provider, hook_id, delivery_key, event, headers, body, body_sha256, project_id,"
        " status, reason, effect, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING RETURNING id",
        (
            delivery.provider,
            delivery.hook_id,
            delivery.delivery_key,
            delivery.event,
            as_json(delivery.headers),
            delivery.body,
            delivery.body_sha256,
            delivery.project_id,
            delivery.status,
            delivery.reason,
            delivery.effect,
            tx.now,
        ),
    )
    return None if row is None else replace(delivery, id=row["id"], received_at=tx.now)


def get(tx: Tx, delivery_id: int) -> Delivery | None:
    """One delivery, with its body."""
    return tx.load(Delivery, "SELECT * FROM deliveries WHERE id = ?", (delivery_id,))


def expect(tx: Tx, delivery_id: int) -> Delivery:
    """One delivery that a foreign key promises."""
    delivery = get(tx, delivery_id)
    if delivery is None:
        raise LookupError(f"delivery {delivery_id}")
    return delivery


def known(tx: Tx, provider: Provider, hook_id: int | None, delivery_key: str) -> Delivery | None:
    """The stored delivery with this key."""
    return tx.load(
        Delivery,
        "SELECT * FROM deliveries WHERE provider = ? AND coalesce(hook_id, 0) = coalesce(?, 0) AND delivery_key = ?",
        (provider, hook_id, delivery_key),
    )


def twin(tx: Tx, delivery: Delivery) -> Delivery | None:
    """The newest other delivery of this hook that says the same, and was applied or ignored, or will be."""
    return tx.load(
        Delivery,
        "SELECT * FROM deliveries WHERE body_sha256 = ? AND provider = ? AND coalesce(hook_id, 0) = coalesce(?, 0)"
        " AND event = ? AND id <> ? AND status IN ('received', 'applied', 'ignored')"
        " AND headers ->> ? IS ? ORDER BY id DESC LIMIT 1",
        (
            delivery.body_sha256,
            delivery.provider,
            delivery.hook_id,
            delivery.event,
            delivery.id,
            PROTOCOL_HEADER,
            delivery.headers.get(PROTOCOL_HEADER),
        ),
    )


def another_since(tx: Tx, delivery: Delivery) -> bool:
    """Whether the hook got another delivery of the same event after this one."""
    row = tx.row(
        "SELECT 1 FROM deliveries WHERE id > ? AND provider = ? AND coalesce(hook_id, 0) = coalesce(?, 0)"
        " AND event = ? AND body_sha256 <> ? LIMIT 1",
        (delivery.id, delivery.provider, delivery.hook_id, delivery.event, delivery.body_sha256),
    )
    return row is not None


def page(
    tx: Tx,
    *,
    project_id: int | None,
    protocol_id: int | None,
    status: str | None,
    provider: str | None,
    event: str | None,
    before: int,
    limit: int,
) -> Sequence[Delivery]:
    """Deliveries without their bodies, newest first, by id below `before`; each filter that is not None counts."""
    # The narrowest index comes first; the other filters are looked at row by row.
    match protocol_id, project_id, status:
        case None, None, None:
            first = "TRUE"
        case None, None, _:
            first = "status = ?3"
        case None, _, _:
            first = "project_id = ?2"
        case _:
            first = "protocol_id = ?1"
    params = (protocol_id, project_id, status, provider, event, before, limit)
    return tx.load_all(Delivery, _LISTED + first + _FILTERED, params)


_LISTED = (
    "SELECT id, provider, hook_id, delivery_key, event, headers, x'' AS body, body_sha256, project_id, protocol_id,"
    " step_id, status, reason, effect, received_at, applied_at FROM deliveries WHERE "
)
_FILTERED = (
    " AND id < ?6 AND (?1 IS NULL OR protocol_id = ?1) AND (?2 IS NULL OR project_id = ?2)"
    " AND (?3 IS NULL OR status = ?3) AND (?4 IS NULL OR provider = ?4) AND (?5 IS NULL OR event = ?5)"
    " ORDER BY id DESC LIMIT ?7"
)


def reopen(tx: Tx, delivery_id: int) -> Delivery:
    """Take back what became of a delivery, so that it can be applied again."""
    tx.run(
        "UPDATE deliveries SET status = 'received', reason = NULL, effect = NULL, applied_at = NULL WHERE id = ?",
        (delivery_id,),
    )
    return expect(tx, delivery_id)


def settle(
    tx: Tx,
    delivery_id: int,
    status: DeliveryStatus,
    reason: str | None,
    *,
    effect: str | None = None,
    project_id: int | None = None,
    protocol_id: int | None = None,
    step_id: int | None = None,
) -> None:
    """Write what became of a delivery, and what it turned out to be about; what is None stays as it was."""
    tx.run(
        "UPDATE deliveries SET status = ?, reason = ?, applied_at = ?, effect = ?,"
        " project_id = coalesce(?, project_id), protocol_id = coalesce(?, protocol_id),"
        " step_id = coalesce(?, step_id) WHERE id = ?",
        (status, reason, tx.now, effect, project_id, protocol_id, step_id, delivery_id),
    )
