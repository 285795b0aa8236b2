"""A TCP proxy that stands before a server, and is slow, silent or torn on demand. It runs in a thread of its own.

Ours, since toxiproxy is a program that neither Debian nor PyPI has.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

CHUNK = 65_536  # bytes


class Proxy:
    """Passes connections to `target`, a port of this host, from `port`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0  # seconds, of each chunk
        self.is_silent = False  # nothing passes, and no connection ends
        self._loses_answer = False  # the next chunk from the server is cut in its middle, and its connection with it
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()  # (to the client, to the server)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """All connections are reset."""
        self._each(lambda pair: [writer.transport.abort() for writer in pair])

    def lose_answer(self) -> None:
        """What the server says next, such as the answer to a commit, is lost half-way."""
        self._loses_answer = True

    def half_close(self, side: int) -> None:
        """Towards the clients (0) or the server (1) all connections end; the other way they stay open."""
        self._each(lambda pair: pair[side].write_eof())

    def close(self) -> None:
        self.is_silent, self.delay = False, 0.0
        self._loop.call_soon_threadsafe(self._server.close)
        self.cut()
        self._call(asyncio.sleep(0.1))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _each(self, act: Callable[[Any], object]) -> None:
        async def all_of_them() -> None:
            for pair in list(self._pairs):
                with suppress(OSError, RuntimeError):  # it is closed already
                    act(pair)

        self._call(all_of_them())

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
            pair = (to_client, to_server)
            self._pairs.add(pair)
            both = (self._pump(from_client, to_server, False), self._pump(from_server, to_client, True))
            await asyncio.gather(*both, return_exceptions=True)
            self._pairs.discard(pair)
            to_server.close()
        to_client.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_answer: bool) -> None:
        """Passes what comes, and its end: an orderly one, or a reset."""
        try:
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self.delay)
                while self.is_silent:
                    await asyncio.sleep(0.05)
                if is_answer and self._loses_answer:
                    self._loses_answer = False
                    writer.write(data[: len(data) // 2])
                    break
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            writer.transport.abort()
