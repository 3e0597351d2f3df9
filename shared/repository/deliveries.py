"""SQL of the tables hooks, hook_secrets and deliveries."""

from collections.abc import Sequence

from shared.repository.database import Tx, as_json
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


def add_hook_secret(tx: Tx, hook_id: int, scheme: str, sealed: bytes, *, others_until: int) -> None:
    """Give a hook a new secret; its present ones of the same scheme end at `others_until`."""
    tx.run(
        "UPDATE hook_secrets SET valid_until = ? WHERE hook_id = ? AND scheme = ?"
        " AND (valid_until IS NULL OR valid_until > ?)",
        (others_until, hook_id, scheme, others_until),
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
    stored = tx.row(
        "INSERT INTO deliveries (provider, hook_id, delivery_key, event, headers, body, body_sha256, project_id,"
        " status, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING *",
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
            tx.now,
        ),
    )
    return None if stored is None else get(tx, stored["id"])


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


def reopen(tx: Tx, delivery_id: int) -> Delivery:
    """Take back what became of a delivery, so that it can be applied again."""
    tx.run("UPDATE deliveries SET status = 'received', reason = NULL, applied_at = NULL WHERE id = ?", (delivery_id,))
    return expect(tx, delivery_id)


def settle(tx: Tx, delivery_id: int, status: DeliveryStatus, reason: str | None) -> None:
    """Write what became of a delivery."""
    tx.run(
        "UPDATE deliveries SET status = ?, reason = ?, applied_at = ? WHERE id = ?",
        (status, reason, tx.now, delivery_id),
    )
