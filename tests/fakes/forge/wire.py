"""HTTPS on loopback under any name: certificates, a CONNECT proxy that leads every name here, and h11 by hand."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import h11
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CHUNK = 1 << 16


class Asked(msgspec.Struct, frozen=True):
    """One request as it came; `host` has the port unless that is 443, `query` the first value of each name."""

    host: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Answer(msgspec.Struct, frozen=True):
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, msgspec.json.encode(value), {"content-type": "application/json", **named})


# Instead of an answer: the connection is closed in the middle of one, or nothing is ever said.
CUT = Answer(0)
HANG = Answer(-1)

Handler = Callable[[Asked], Awaitable[Answer]]


class Certificates:
    """An authority of our own, and a certificate by it for any names."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = folder / "authority.pem"
        self.no_others = folder / "no-others"  # else each git reads all authorities of the machine
        self.no_others.mkdir(exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the fake forge's authority")])
        usage = dict.fromkeys(
            (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, name: str) -> ssl.SSLContext:
        """What a server called `name` speaks TLS with."""
        file = self._folder / f"{name}.pem"
        if not file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            certificate = (
                self._builder(subject, key)
                .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
                .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
                .sign(self._key, hashes.SHA256())
            )
            private = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(issuer, critical=False)
        )


class Server:
    """Serves every https URL of a client that takes it for its proxy; nothing leaves this machine."""

    def __init__(self, folder: Path, handler: Handler) -> None:
        self._handler = handler
        self._certificates = Certificates(folder)
        self._tls: dict[str, asyncio.Server] = {}
        self._proxy: asyncio.Server | None = None
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.refusing = False

    @property
    def environment(self) -> dict[str, str]:
        """What git, curl and httpx find us by."""
        assert self._proxy is not None
        port = self._proxy.sockets[0].getsockname()[1]
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "NO_PROXY": "127.0.0.1,localhost",
            "SSL_CERT_FILE": str(self._certificates.authority),
            "SSL_CERT_DIR": str(self._certificates.no_others),
        }

    async def __aenter__(self) -> Self:
        self._proxy = await asyncio.start_server(self._accepting(self._lead), "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        servers = [server for server in (self._proxy, *self._tls.values()) if server is not None]
        for server in servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in servers:
            await server.wait_closed()

    def _accepting(
        self, talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        async def to_its_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(reader, writer)
            except (OSError, h11.RemoteProtocolError, asyncio.IncompleteReadError):
                pass  # the client left, or spoke no HTTP
            finally:
                writer.transport.abort()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(to_its_end(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accept

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """`CONNECT name:port` leads to our own server of that name."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        verb, target = head.split()[:2]
        if verb != "CONNECT" or self.refusing:
            return
        name = target.rpartition(":")[0]
        async with self._starting:
            if name not in self._tls:
                self._tls[name] = await asyncio.start_server(
                    self._accepting(self._converse), "127.0.0.1", 0, ssl=self._certificates.context(name)
                )
        port = self._tls[name].sockets[0].getsockname()[1]
        onward, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pump(reader, back), _pump(onward, writer))
        finally:
            back.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        while (asked := await _receive(http, reader, writer)) is not None:
            answer = await self._handler(asked)
            if answer is HANG:
                await reader.read()
                return
            if answer is CUT:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                await writer.drain()
                return
            headers = [*answer.headers.items(), ("content-length", str(len(answer.body)))]
            told = http.send(h11.Response(status_code=answer.status, headers=headers)) or b""
            if asked.method != "HEAD" and answer.status not in {204, 304}:
                told += http.send(h11.Data(data=answer.body)) or b""
            writer.write(told + (http.send(h11.EndOfMessage()) or b""))
            await writer.drain()
            if h11.MUST_CLOSE in {http.our_state, http.their_state}:
                return
            http.start_next_cycle()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _receive(http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                writer.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            http.receive_data(await reader.read(CHUNK))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _asked(head, bytes(body))
        else:
            return None


def _asked(head: h11.Request, body: bytes) -> Asked:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    raw, _, query = head.target.decode("latin-1").partition("?")
    first = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
    host = headers.get("host", "").removesuffix(":443")
    # GitLab's project paths come as one segment with encoded slashes, which must stay one.
    path = unquote(raw.replace("%2F", "\0").replace("%2f", "\0")).replace("\0", "%2F")
    return Asked(host, head.method.decode(), path, first, headers, body)
