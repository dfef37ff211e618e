"""Finds a daemon, listens to all that its processes say, and notices when it comes and goes.

It holds subscribers and nothing else: no publisher, no client, no server. What it learns it learns
from the streams, from the lock file in the robot's folder, and from /proc.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from tandem.runtime import config, folder, streams
from tandem.runtime.bus import ZmqBus
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.folder import Daemon
from tandem.runtime.messages import Message
from tandem.runtime.ports import Subscriber
from tandem.tools.console.bands import Bands
from tandem.tools.console.figures import Presence, Snapshot
from tandem.tools.console.machine import Meter
from tandem.tools.console.model import Model

_LOOK_NS = NS_PER_S // 2
_YOUNG_NS = 10 * NS_PER_S  # while processes start, each is to be heard from its first word on
# Every message counts of these; of the others the newest does.
_WHOLE = (streams.TICK, streams.EVENT, streams.CONDITIONING)
_NEWEST = (streams.STATE, streams.CHUNK, streams.TASK)


class Ears:
    """One subscriber for each of the sockets that the daemon's processes have bound."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bus = ZmqBus(path, "console")
        self._ports: dict[str, Subscriber[Any]] = {}

    @property
    def malformed(self) -> int:
        return sum(port.malformed for port in self._ports.values())

    def discover(self) -> None:
        """Listen to who has begun to speak since; a process that starts again is heard again."""
        for stream in (*_WHOLE, *_NEWEST):
            for file in self._path.glob(f"{stream.name}.*"):
                if file.name not in self._ports:
                    source = file.name.removeprefix(f"{stream.name}.")
                    port = self._bus.subscriber(stream, source, conflate=stream in _NEWEST)
                    self._ports[file.name] = port

    def poll(self) -> Iterator[Message]:
        for port in self._ports.values():
            yield from port.poll()

    def close(self) -> None:
        self._bus.close()


class Watch:
    """`robot`: a name, a configuration file, or "" for the only one; call `look` often."""

    def __init__(self, robot: str = "", clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Raises ConfigError: `robot` is a file that cannot be read."""
        self._name, self._folder = _target(robot)
        self._now_ns = clock
        self._daemon: Daemon | None = None
        self._ears: Ears | None = None
        self._model: Model | None = None
        self._bands = Bands()
        self._meter = Meter()
        self._since_ns = clock()
        self._due_ns = 0
        self._note = ""

    @property
    def presence(self) -> Presence:
        if self._ears is not None:
            return "attached"
        return "gone" if self._daemon is not None else "waiting"

    def look(self) -> None:
        """See whether the daemon is there, and take in what has arrived; never waits."""
        now_ns = self._now_ns()
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + _LOOK_NS
            self._find(now_ns)
        elif self._ears is not None and now_ns - self._since_ns < _YOUNG_NS:
            self._ears.discover()
        self._listen(now_ns)

    def snapshot(self) -> Snapshot:
        """The figures now; after the daemon has gone, its last ones."""
        now_ns, model, daemon = self._now_ns(), self._model, self._daemon
        gone = self.presence == "gone"
        about: dict[str, Any] = {
            "presence": self.presence,
            "note": self._note,
            "since_s": round((now_ns - self._since_ns) / NS_PER_S, 2),
            "name": daemon.holder.robot if daemon else self._name,
            "machine": self._meter.machine,
        }
        if model is None or daemon is None:
            return Snapshot(**about)
        about |= {"config": daemon.holder.config, "pid": daemon.holder.pid}
        about["malformed"] = self._ears.malformed if self._ears else 0
        figures = model.snapshot(self._since_ns if gone else now_ns, self._meter.processes)
        return msgspec.structs.replace(figures, **about)

    def close(self) -> None:
        self._meter.close()
        if self._ears is not None:
            self._ears.close()
            self._ears = None

    # -- coming and going --------------------------------------------------------------------------

    def _find(self, now_ns: int) -> None:
        found = self._wanted()
        if self._ears is not None and self._daemon is not None:
            if any(_same(d, self._daemon) for d in found):
                self._follow(now_ns, next(d for d in found if _same(d, self._daemon)))
                return
            self._detach(now_ns)
        self._note = self._waiting_for(found)
        if len(found) == 1:
            self._attach(now_ns, found[0])
        self._meter.look(now_ns, {})

    def _wanted(self) -> list[Daemon]:
        extra = [self._folder] if self._folder and self._folder.is_dir() else []
        daemons = folder.running(config.base_folder(), extra)
        if self._folder is not None:
            return [d for d in daemons if d.folder == self._folder]
        return [d for d in daemons if self._name in ("", d.holder.robot)]

    def _waiting_for(self, found: list[Daemon]) -> str:
        if len(found) > 1:
            names = ", ".join(d.holder.robot for d in found)
            return f"several daemons run here, say which: tandem console NAME ({names})"
        return f"no daemon{' called ' + self._name if self._name else ''} runs here"

    def _attach(self, now_ns: int, daemon: Daemon) -> None:
        self._daemon, self._note, self._since_ns = daemon, "", now_ns
        self._bands = Bands.of(daemon.folder)
        self._model = Model(self._bands, now_ns)
        self._ears = Ears(daemon.folder)
        self._follow(now_ns, daemon)

    def _follow(self, now_ns: int, daemon: Daemon) -> None:
        self._daemon = daemon
        if self._ears is not None:
            self._ears.discover()
        pids = {"supervisor": daemon.holder.pid, **daemon.holder.children}
        self._meter.look(now_ns, pids, self._bands.priority)

    def _detach(self, now_ns: int) -> None:
        """Its last words first."""
        self._listen(now_ns)
        if self._ears is not None:
            self._ears.close()
        self._ears, self._since_ns = None, now_ns

    def _listen(self, now_ns: int) -> None:
        if self._ears is not None and self._model is not None:
            for message in self._ears.poll():
                self._model.feed(now_ns, message)


def _same(a: Daemon, b: Daemon) -> bool:
    return a.folder == b.folder and a.holder.pid == b.holder.pid


def _target(robot: str) -> tuple[str, Path | None]:
    """The name to look for, and the folder if a configuration file says which."""
    if robot.endswith((".yaml", ".yml")) or "/" in robot:
        settings = config.load(robot)
        return settings.robot.name, settings.folder
    return robot, None
