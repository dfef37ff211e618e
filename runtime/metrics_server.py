"""`GET /metrics` on this machine's own address, from one thread beside the supervisor's loop.

One thread and one request at a time, so nobody can make this process grow; a text is kept for half
a second, so nobody can make it busy; a client that says nothing is hung up on.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from tandem.runtime import exposition, metrics
from tandem.runtime.children import Child
from tandem.runtime.errors import ConfigError
from tandem.runtime.summary import Summary

ADDRESS = "127.0.0.1"
_PATHS = ("/metrics", "/")
_KEPT_S = 0.5
_CLIENT_TIMEOUT_S = 1.0
_TAKE_TIMEOUT_S = 2.0

Collect = Callable[[], Callable[[], Iterator[Metric]]]


async def serve(port: int, robot: str, summary: Summary, children: Iterable[Child]) -> None:
    """Answer until cancelled; `summary` and `children` belong to this loop.

    Raises:
        ConfigError: the port is taken or not allowed.
    """

    def collect() -> Callable[[], Iterator[Metric]]:
        now = [metrics.ChildNumbers(c.role, c.pid, c.state == "ready", c.starts) for c in children]
        numbers = metrics.take(summary, now, time.monotonic_ns(), robot)
        return partial(exposition.families, numbers, os.getpid())

    server = MetricsServer(port, collect)
    try:
        await asyncio.Future()
    finally:
        await server.close()


class MetricsServer:
    """`collect` is called in the event loop; what it returns is called in the thread.

    Make it inside the loop; `close` it there. `port` 0: any that is free, see `self.port`.

    Raises:
        ConfigError: the port is taken or not allowed.
    """

    def __init__(self, port: int, collect: Collect) -> None:
        self._loop = asyncio.get_running_loop()
        self._collect = collect
        self._kept: dict[str, tuple[float, bytes, str]] = {}
        self._closing = False
        handler = type("Handler", (_Handler,), {"scrape": staticmethod(self._scrape)})
        try:
            self._server = _Server((ADDRESS, port), handler)
        except OSError as error:
            raise ConfigError(
                f"metrics.port: cannot listen on {ADDRESS}:{port}: {error.strerror}; "
                "choose another port, or leave `metrics` out"
            ) from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Stop answering; the loop runs on meanwhile, as a scrape under way may need it."""
        self._closing = True
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
        await asyncio.to_thread(self._thread.join, _CLIENT_TIMEOUT_S)

    def _scrape(self, accept: str) -> tuple[bytes, str] | None:
        """The text and its content type; None when the loop does not answer."""
        now_s = time.monotonic()
        made_s, text, kind = self._kept.get(accept, (-_KEPT_S, b"", ""))
        if now_s - made_s < _KEPT_S:
            return text, kind
        if self._closing:
            return None
        taking = asyncio.run_coroutine_threadsafe(self._take(), self._loop)
        try:
            made = taking.result(_TAKE_TIMEOUT_S)
        except TimeoutError:
            taking.cancel()
            return None
        encoder, kind = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Made(made))
        text = encoder(registry)
        self._kept = {accept: (now_s, text, kind)}
        return text, kind

    async def _take(self) -> Callable[[], Iterator[Metric]]:
        return self._collect()


class _Made:
    """What prometheus_client calls a collector."""

    def __init__(self, make: Callable[[], Iterator[Metric]]) -> None:
        self.collect = make

    def describe(self) -> list[Metric]:
        return []


class _Server(TCPServer):
    allow_reuse_address = True
    request_queue_size = 16

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up in the middle is its own affair."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_TIMEOUT_S  # of every read and write
    scrape: Callable[[str], tuple[bytes, str] | None]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] not in _PATHS:
            self.send_error(404, "metrics are at /metrics")
            return
        answer = self.scrape(self.headers.get("Accept", ""))
        if answer is None:
            self.send_error(503, "the supervisor does not answer")
            return
        text, kind = answer
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """The terminal belongs to the status line."""
