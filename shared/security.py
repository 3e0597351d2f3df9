"""The place for tokens, comparisons and the sealing of stored secrets; what may be shown is decided in shared.log."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import SealError, StartupError
from shared.secret import SIGNING_PREFIX, Secret

Kind = Literal["project", "webhook"]

TOKEN_MARKS: dict[Kind, str] = {"project": "dfp_", "webhook": "dfw_"}
TOKEN_BYTES = 32
SHOWN_CHARS = 8
HOOK_KEY_BYTES = 18

SEAL_VERSION = b"\x01"
KEY_ID_BYTES = 8
NONCE_BYTES = 12
MAX_SECRET_BYTES = 65_536
MIN_KEY_CHARS = 32


class NewToken(NamedTuple):
    """A token that was just made: the text is shown once, the rest is stored."""

    text: Secret
    prefix: str
    hash: str


def new_token(kind: Kind) -> NewToken:
    """256 random bits. The prefix tells tokens apart in lists and is no help in guessing."""
    text = TOKEN_MARKS[kind] + secrets.token_urlsafe(TOKEN_BYTES)
    return NewToken(text=Secret(text), prefix=text[:SHOWN_CHARS], hash=hash_token(text))


def new_hook_key() -> str:
    """The random part of a hook's URL. It selects the hook and is no secret by itself."""
    return secrets.token_urlsafe(HOOK_KEY_BYTES)


def new_signing_secret() -> str:
    """256 random bits in the form of Standard Webhooks, which GitLab's signing tokens have too."""
    return SIGNING_PREFIX + base64.b64encode(secrets.token_bytes(TOKEN_BYTES)).decode()


def signed_headers(message_id: str, seconds: int, body: bytes, signing_secret: str) -> dict[str, str]:
    """The headers by which a message of Standard Webhooks proves itself; `seconds` since 1970, when it is sent."""
    stamp = str(seconds)
    key = base64.b64decode(signing_secret.removeprefix(SIGNING_PREFIX))
    digest = hmac.digest(key, b".".join((message_id.encode(), stamp.encode(), body)), hashlib.sha256)
    mark = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": mark}


def hash_token(text: str) -> str:
    """SHA-256 in hex: enough for 256 random bits, and the same for any text that somebody sends."""
    return hashlib.sha256(_bytes(text)).hexdigest()


def same(one: str | bytes, other: str | bytes) -> bool:
    """Equality in a time that does not depend on where they differ; never raises."""
    return hmac.compare_digest(_bytes(one), _bytes(other))


class Vault:
    """Seals secrets for the database under the secret key.

    A blob is version, key id, nonce, ciphertext. `context` names the row that it belongs to (`project:3:forge_token`):
    a blob that was moved to another row does not open.
    """

    def __init__(self, secret_key: Secret) -> None:
        material = HKDF(algorithm=SHA256(), length=32 + KEY_ID_BYTES, salt=None, info=b"deksdenflow vault 1").derive(
            _bytes(secret_key.reveal())
        )
        self._cipher = AESGCM(material[:32])
        self._header = SEAL_VERSION + material[32:]

    def seal(self, text: str, context: str) -> bytes:
        """A blob that is different every time."""
        nonce = os.urandom(NONCE_BYTES)
        return self._header + nonce + self._cipher.encrypt(nonce, _bytes(text), self._bound_to(context))

    def open(self, blob: bytes, context: str) -> str:
        """The text, or a `SealError` that says which of the possible reasons it is."""
        head, rest = blob[: len(self._header)], blob[len(self._header) :]
        if len(head) < len(self._header) or head[:1] != SEAL_VERSION:
            raise SealError(f"the stored secret {context} is not in a form that this version can open")
        if head != self._header:
            raise SealError(
                f"the stored secret {context} was sealed under another SECRET_KEY; bring that key back or set it again"
            )
        try:
            text = self._cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], self._bound_to(context))
        except (InvalidTag, ValueError) as error:  # ValueError: too short for a nonce
            raise SealError(
                f"the stored secret {context} was changed, or belongs to another row; set it again"
            ) from error
        return text.decode(errors="surrogatepass")

    def _bound_to(self, context: str) -> bytes:
        return self._header + _bytes(context)


class FileSecret(NamedTuple):
    """A secret that stays in a file, such as a mounted one, and is read each time it is used."""

    path: str

    def read(self) -> Secret:
        """The content without its final line break; a `SealError` when there is none or it is no plain small file."""
        try:
            file = Path(self.path)
            if not file.is_file():  # a device or a pipe could be read for ever
                raise SealError(f"the secret file {self.path!r} does not exist, or is no plain file")
            with file.open("rb") as stream:
                content = stream.read(MAX_SECRET_BYTES + 1)
            text = content.decode().rstrip("\r\n")
        except OSError as error:
            raise SealError(f"the secret file {self.path!r} cannot be read: {error.strerror}") from error
        except ValueError as error:  # a NUL in the path, or bytes that are no text
            raise SealError(f"the secret file {self.path!r} is not UTF-8 text") from error
        if not text.strip() or len(content) > MAX_SECRET_BYTES:
            raise SealError(f"the secret file {self.path!r} is empty or longer than {MAX_SECRET_BYTES} bytes")
        return Secret(text)


def load_or_create_key(path: Path) -> Secret:
    """The key in this file; made, for its owner alone, by the first of several processes that ask at once."""
    try:
        if not path.exists():
            _create_key(path)
        return _load_key(path)
    except OSError as error:
        raise StartupError(f"the key file {str(path)!r} cannot be used: {error.strerror}") from error


def _create_key(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(TOKEN_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)  # refuses to replace: of several processes the first one's key counts
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _load_key(path: Path) -> Secret:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise StartupError(f"the key file {str(path)!r} may be read by others; run: chmod 600 {path}")
        text = file.read(MAX_SECRET_BYTES).decode(errors="replace").strip()
    if len(text) < MIN_KEY_CHARS:
        raise StartupError(f"the key file {str(path)!r} holds no key; delete it only if no secret was stored yet")
    return Secret(text)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
