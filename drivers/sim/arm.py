"""The client of the simulated arm, inside the executor: one ring in, one out, never waits to send.

A new client makes a new ring of knots, which fences off any older one: a frozen executor that wakes
up writes into a file that nobody reads, and is told so at its next `send`.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tandem.drivers.sim import panda, wire
from tandem.runtime.clock import NS_PER_MS, NS_PER_S, Clock, MonotonicClock
from tandem.runtime.errors import DeviceError, DeviceTimeoutError
from tandem.runtime.images import RingReader, RingWriter
from tandem.runtime.interfaces import ArmSpec, ArmState, Knot

_CONNECT_NS = 10 * NS_PER_S  # the simulator's process needs a second or two to start
_SILENT_NS = 200 * NS_PER_MS  # a sender quiet for so long has stopped
_FRESH_NS = 3 * NS_PER_MS
_POLL_NS = NS_PER_MS // 5


class SimArm:
    """Implements runtime.interfaces.Arm over the shared rings of a runtime directory."""

    spec: ArmSpec

    def __init__(self, runtime_dir: Path, clock: Clock | None = None) -> None:
        self.spec = panda.panda_spec()
        self._dir = Path(runtime_dir)
        self._clock = clock or MonotonicClock()
        self._knots: RingWriter | None = None
        self._state: RingReader | None = None

    def connect(self, timeout_ns: int = _CONNECT_NS) -> None:
        """Take command of the arm.

        Raises:
            DeviceTimeoutError: no simulator is running here.
            DeviceError: already connected, or another client commands the arm.
        """
        if self._knots is not None:
            raise DeviceError("this SimArm is connected already; make one client per process")
        self._state = wire.state_ring(self._dir).reader()
        deadline_ns = self._clock.now_ns() + timeout_ns
        with self._turn(deadline_ns):
            self._await_plant(deadline_ns)
            self._refuse_rival()
            self._knots = wire.knot_ring(self._dir).writer()
            self.stop()  # a first sign of life, so that the next client sees that we are here

    def read(self, timeout_ns: int) -> ArmState:
        """The newest state; waits only if that is more than a few milliseconds old.

        Raises:
            DeviceTimeoutError: the simulator is silent.
            DeviceError: not connected.
        """
        if self._state is None:
            raise DeviceError("the arm is not connected; call connect() first")
        deadline_ns = self._clock.now_ns() + timeout_ns
        while True:
            record = self._state.latest()
            now_ns = self._clock.now_ns()
            if record is not None and now_ns - record.t_ns <= _FRESH_NS:
                return wire.unpack_state(record.t_ns, record.payload)
            if now_ns >= deadline_ns:
                raise self._silence(now_ns - record.t_ns if record else None)
            self._clock.sleep_until(min(now_ns + _POLL_NS, deadline_ns))

    def send(self, knot: Knot) -> None:
        """Hand the arm a set-point; never waits.

        Raises:
            DeviceError: not connected, or another client has taken the arm over.
        """
        ring = self._commanding()
        wire.pack_knot(ring.slot(), knot)
        ring.commit(self._clock.now_ns())

    def stop(self) -> None:
        """Let the arm brake by itself, now. Idempotent, and silent where nothing is connected."""
        self._wish(wire.Wish.BRAKE)

    def recover(self) -> None:
        """Ask the arm to end its reflex; its state tells when it has. A user stop is not ours."""
        self._wish(wire.Wish.RECOVER)

    def _wish(self, wish: wire.Wish) -> None:
        ring = self._knots
        if ring is None or ring.fenced():
            return
        wire.pack_wish(ring.slot(), wish)
        ring.commit(self._clock.now_ns())

    def _commanding(self) -> RingWriter:
        if self._knots is None:
            raise DeviceError("the arm is not connected; call connect() first")
        if self._knots.fenced():
            raise DeviceError(
                "another executor has taken over the simulated arm while this one was away; "
                "this one may not command any more, end it"
            )
        return self._knots

    def _await_plant(self, deadline_ns: int) -> None:
        while True:
            try:
                self.read(timeout_ns=0)
            except DeviceTimeoutError:
                if self._clock.now_ns() >= deadline_ns:
                    raise
                time.sleep(0.01)
            else:
                return

    def _refuse_rival(self) -> None:
        """Wait until the client before has fallen silent; one that goes on is a second executor."""
        reader = wire.knot_ring(self._dir).reader()
        deadline_ns = self._clock.now_ns() + 2 * _SILENT_NS
        while True:
            now_ns = self._clock.now_ns()  # first: a pause of ours is not a silence of theirs
            record = reader.latest()
            if record is None or now_ns - record.t_ns > _SILENT_NS:
                return
            if now_ns >= deadline_ns:
                pid = int(record.payload["pid"])
                raise DeviceError(
                    f"the simulated arm is commanded by process {pid}; stop it first "
                    "(`tandem stop`), one arm obeys one executor"
                )
            time.sleep(0.01)

    @contextmanager
    def _turn(self, deadline_ns: int) -> Iterator[None]:
        """Two clients that connect at once do it one after the other."""
        fd = os.open(self._dir / "arm.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self._clock.now_ns() >= deadline_ns:
                        raise DeviceTimeoutError(
                            "another client has been connecting to the simulated arm for too "
                            "long; end it, then try again"
                        ) from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(fd)

    def _silence(self, age_ns: int | None) -> DeviceTimeoutError:
        if age_ns is None:
            return DeviceTimeoutError(
                f"no simulated arm in {self._dir}; start it with `tandem run`"
            )
        return DeviceTimeoutError(
            f"the simulated arm has been silent for {age_ns / NS_PER_MS:.0f} ms; its process has "
            "stalled or died: see the log of `tandem run`, which restarts it"
        )
