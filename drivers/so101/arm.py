"""The SO-101 as an arm of the runtime: knots in, states out, on one half-duplex wire.

A tick collects the answers to the question of the tick before and hands over a set-point with the
next question behind it, so nothing waits for the wire. In ticks without a set-point `read` asks.
Between knots the set-point follows the same quintics, and its own brake, as the simulated arm.

The servos keep their torque and the last set-point when the program ends: an arm that lets go
falls. Whatever stops it by itself (a servo's fault, a lost bus, lost power) is a reflex that only
`recover` ends, never its cause going away.
"""

from pathlib import Path

import numpy as np
from tandem.drivers.so101 import calibration, setup
from tandem.drivers.so101.bus import Bus
from tandem.drivers.so101.calibration import GRIPPER
from tandem.drivers.so101.errors import PortError, ServoFaultError, SilentServoError
from tandem.drivers.so101.port import SerialPort
from tandem.drivers.so101.sample import Sample, Sampler
from tandem.drivers.so101.stream import Stream
from tandem.runtime.clock import NS_PER_MS, Clock, MonotonicClock
from tandem.runtime.errors import ConfigError, DeviceError
from tandem.runtime.interfaces import ArmSpec, ArmState, Knot

_BAUD = 1_000_000
_REOPEN_NS = 500 * NS_PER_MS
_RECOVERY_NS = 1000 * NS_PER_MS  # a wish to recover is not kept for longer
_STALL_TORQUE_NM = 2.94  # STS3215 at 12 V


class So101Arm:
    """Implements runtime.interfaces.Arm; `spec` has the servos' own ranges once it is connected."""

    spec: ArmSpec

    def __init__(
        self,
        spec: ArmSpec,
        port: str,
        *,
        calibration: str = "",
        hold: bool = True,
        baud: int = _BAUD,
        stall_torque_nm: float = _STALL_TORQUE_NM,
        clock: Clock | None = None,
        serial: SerialPort | None = None,
    ) -> None:
        """`calibration`: LeRobot's file, held against what is in the servos; "": go by the servos.
        `hold`: give the servos torque; without it the arm is limp and only watched. `serial`: in
        place of the port of that name, for what runs in one process with its bus.

        Raises:
            ConfigError: no port.
        """
        if not port:
            raise ConfigError(
                "robot.arm.host is the arm's serial port, e.g. /dev/serial/by-id/usb-…: give it"
            )
        self.spec = spec
        self._file, self._hold, self._stall_nm = calibration, hold, stall_torque_nm
        self._clock = clock or MonotonicClock()
        self._port = serial or SerialPort(port, baud)
        self._stream: Stream | None = None
        self._reflex: str | None = None  # stands until `recover`
        self._braking = False  # in reflex, but the set-point has not come to rest yet
        self._recover_until_ns = 0
        self._streaming = False  # a set-point came since the last read
        self._reopen_ns = 0

    @property
    def counters(self) -> dict[str, int]:
        """What became of the set-points and of the answers, since `connect`."""
        return dict(self._stream.counters) if self._stream else {}

    # -- the words of an arm -----------------------------------------------------------------------

    def connect(self) -> None:
        """Open the bus, look who is there, and hold the arm where it is.

        Raises:
            PortError: no port, no permission, in use by another program.
            SilentServoError: servos are missing.
            CalibrationError: they are not calibrated, or otherwise than the file says.
            ServoFaultError: one of them cannot go on.
            DeviceError: connected already.
        """
        if self._stream is not None:
            raise DeviceError("this So101Arm is connected already; make one client per process")
        self._port.connect()
        try:
            self._stream = self._set_up(Bus(self._port, self._clock))
        except BaseException:
            self._port.close()
            raise

    def read(self, timeout_ns: int) -> ArmState:
        """The newest state, at most a tick old; waits at most `timeout_ns` for an answer.

        Raises:
            DeviceTimeoutError: no complete answer yet; the next read may have it.
            SilentServoError: a servo has been silent for longer than a few lost answers.
            PortError: the bus is gone; later reads look whether it has come back.
        """
        stream = self._connected()
        streaming, self._streaming = self._streaming, False
        self._find_again()
        try:
            if not streaming and not stream.asked:
                stream.exchange(self._commands)
            sample = stream.sample(timeout_ns)
            commanded = self._commands
            self._judge(stream, sample)
            state = self._told(stream, sample, commanded and self._commands)
            if not streaming:  # nobody else asks: the answer will be there at the next read
                stream.exchange(self._commands)
        except PortError as error:
            self._lose(error)
            raise
        except SilentServoError as error:
            self._fall(str(error))
            raise
        return state

    def send(self, knot: Knot) -> None:
        """Take a set-point; never waits. While an answer is on the way it goes with the next one.

        Raises:
            PortError: the bus is gone.
            DeviceError: not connected.
        """
        stream = self._connected()
        stream.follower.offer(knot, self._clock.now_ns())
        self._streaming = True
        if not self._port.open:
            return
        if stream.asked:
            stream.counters["set_points_late"] += 1
            return
        try:
            stream.exchange(self._commands)
        except PortError as error:
            self._lose(error)
            raise

    def stop(self) -> None:
        """Brake by itself, now. Idempotent, and silent where nothing is connected."""
        if self._stream is not None:
            self._stream.follower.brake()

    def recover(self) -> None:
        """End a reflex whose cause is gone: take the arm where it is, and hold it again."""
        if self._reflex is not None and self._port.open:
            self._recover_until_ns = self._clock.now_ns() + _RECOVERY_NS

    def close(self) -> None:
        """Give the port back; the servos hold where they are. Idempotent."""
        self._port.close()
        self._stream = None

    # -- set-up ------------------------------------------------------------------------------------

    def _set_up(self, bus: Bus) -> Stream:
        names = (*self.spec.joint_names, GRIPPER)
        file = (
            calibration.load(Path(self._file).expanduser(), self.spec.joint_names)
            if self._file
            else None
        )
        ids = {n: s.id for n, s in file.items()} if file else setup.default_ids(names)
        setup.find_all(bus, names, ids)
        found = setup.read_calibration(bus, ids, file)
        if file:
            calibration.check_same(file, found, self._file)
        setup.configure(bus, ids)
        units = {name: setup.velocity_unit(bus, servo) for name, servo in ids.items()}
        self.spec = setup.within(self.spec, found)
        sampler = Sampler(self.spec.joint_names, found, units, self._stall_nm)
        stream = Stream(bus, self.spec, found, sampler, self._clock)
        first = stream.first()
        if first.fault:
            raise ServoFaultError(f"{first.fault}. Then switch the arm's power off and on")
        stream.follow_from(first)
        if self._hold and first.limp:
            stream.take_hold()
        return stream

    # -- what may go wrong -------------------------------------------------------------------------

    @property
    def _commands(self) -> bool:
        return self._hold and (self._reflex is None or self._braking)

    def _judge(self, stream: Stream, sample: Sample) -> None:
        """Latch what has happened; end a reflex that was asked to end and whose cause is gone."""
        if sample.fault:
            self._fall(sample.fault)
        elif self._commands and sample.limp and stream.commanding:
            self._fall(f"{', '.join(sample.limp)} lost its torque: was the arm's power off?")
        if self._braking and stream.follower.standing:
            self._braking = False
        if self._clock.now_ns() >= self._recover_until_ns or self._braking:
            return
        if sample.fault is None:
            self._recover_until_ns = 0
            self._reflex = None
            stream.follower.blocked = False
        stream.follow_from(sample, measured=True)
        if self._hold:
            stream.take_hold()  # which also ends an overload, as the next sample will show

    def _fall(self, why: str) -> None:
        """Into reflex: brake what still obeys, and take nothing more."""
        if self._reflex is not None or self._stream is None:
            return
        self._reflex, self._braking = why, True
        self._stream.follower.brake()
        self._stream.follower.blocked = True

    def _lose(self, error: PortError) -> None:
        self._port.close()
        self._reopen_ns = self._clock.now_ns() + _REOPEN_NS
        self._fall(f"the bus was lost: {error}")
        self._braking = False  # when it is back, the servos stand where they stood
        self._recover_until_ns = 0
        if self._stream is not None:
            self._stream.forget()

    def _find_again(self) -> None:
        """After the bus was lost: look for it now and then, and only watch until `recover`.

        Raises:
            PortError: it is still gone.
        """
        if self._port.open:
            return
        now_ns = self._clock.now_ns()
        if now_ns < self._reopen_ns:
            raise PortError(f"{self._port.path} is gone: plug it in, then `tandem reset`")
        self._reopen_ns = now_ns + _REOPEN_NS
        self._port.connect()

    # -- telling -----------------------------------------------------------------------------------

    def _told(self, stream: Stream, sample: Sample, commanded: bool) -> ArmState:
        follower = stream.follower
        point, zero = follower.now, np.zeros(len(sample.q))
        # Where we do not command, the servos follow their goals; limp ones follow the hand.
        elsewhere = sample.q if sample.limp else sample.q_goal
        status = "reflex" if self._reflex else "idle" if follower.standing else "moving"
        return ArmState(
            t_ns=sample.t_ns,
            q=sample.q,
            dq=sample.dq,
            tau=sample.tau,
            q_d=point.q.copy() if commanded else elsewhere,
            dq_d=point.dq.copy() if commanded else zero,
            ddq_d=point.ddq.copy() if commanded else zero,
            width_m=sample.opening * self.spec.width_max_m,
            status=status,  # type: ignore[arg-type]
            error=self._reflex,
            underruns=follower.underruns,
            coasting=follower.coasting,
        )

    def _connected(self) -> Stream:
        if self._stream is None:
            raise DeviceError("the arm is not connected; call connect() first")
        return self._stream
