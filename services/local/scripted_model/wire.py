"""One HTTP connection by hand (h11 over asyncio streams): a server that must hang, cut and reset on purpose."""

import asyncio
import socket
import struct
from http import HTTPStatus

import h11

from services.local.scripted_model.reply import Ending, Reply

_BODY_LIMIT = 64 << 20
_CHUNK = 1 << 16


class Wire:
    """Reads requests and writes replies; every method may raise ConnectionError or h11.RemoteProtocolError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._http = h11.Connection(h11.SERVER)
        self._reader, self._writer = reader, writer

    async def receive(self) -> tuple[h11.Request, bytes] | None:
        """The next request and its whole body; None when there is none to come."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        head: h11.Request | None = None
        body = bytearray()
        while self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > _BODY_LIMIT:
                    raise ConnectionError(f"a body of more than {_BODY_LIMIT >> 20} MiB")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return head, bytes(body)
            else:
                return None
        return None

    async def send(self, reply: Reply) -> None:
        """The whole reply with its ending; its delay comes after the first event of a stream, or before an error."""
        early = reply.chunks[:1] if reply.status == HTTPStatus.OK else ()
        if early:
            await self._send_head(reply)
            await self._send_chunks(reply, early)
        await asyncio.sleep(reply.delay_s)
        if not early:
            await self._send_head(reply)
        await self._send_chunks(reply, reply.chunks[len(early) :])
        match reply.ending:
            case Ending.DONE:
                await self._write(self._http.send(h11.EndOfMessage()))
            case Ending.CLOSE:
                self._writer.close()
                await self._writer.wait_closed()
            case Ending.RESET:
                self._reset()
            case Ending.SILENCE:
                while await self._reader.read(_CHUNK):
                    pass

    def drop(self) -> None:
        """Ends the connection at once: a client that does not read must not hold up the end of the server."""
        self._writer.transport.abort()

    def _reset(self) -> None:
        """Without lingering, closing sends RST instead of FIN."""
        end: socket.socket = self._writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop()

    async def _send_head(self, reply: Reply) -> None:
        if reply.status:
            await self._write(self._http.send(h11.Response(status_code=reply.status, headers=list(reply.headers))))

    async def _send_chunks(self, reply: Reply, chunks: tuple[bytes, ...]) -> None:
        for chunk in chunks:
            await self._write(self._http.send(h11.Data(data=chunk)) if reply.status else chunk)

    async def _write(self, data: bytes | None) -> None:
        self._writer.write(data or b"")
        await self._writer.drain()
