"""One STS3215: its memory, and a motor that follows its goal as fast as the real one can."""

_SIZE = 96
_TURN = 4096
# address → (bytes, value) as it leaves the factory, or after the power comes on.
_FACTORY = {
    0: (1, 3),
    1: (1, 10),
    3: (2, 777),
    6: (1, 0),
    7: (1, 250),
    8: (1, 1),
    9: (2, 0),
    11: (2, 4095),
    13: (1, 70),
    14: (1, 140),
    15: (1, 40),
    16: (2, 1000),
    18: (1, 12),
    19: (1, 44),
    20: (1, 47),
    21: (1, 32),
    22: (1, 32),
    33: (1, 0),
    36: (1, 80),
}
_POWER_ON = {40: (1, 0), 41: (1, 0), 44: (2, 0), 46: (2, 0), 55: (1, 1), 62: (1, 120), 63: (1, 30)}
_READ_ONLY = (*range(5), *range(56, 71))
_SRAM = 40
_LOCK, _TORQUE, _ACCELERATION, _GOAL, _SPEED, _LIMIT = 55, 40, 41, 42, 46, 48

VOLTAGE, SENSOR, HEAT, CURRENT, OVERLOAD = 0x01, 0x02, 0x04, 0x08, 0x20
_FASTEST = 3070  # steps/s: 60 degrees in 0.222 s
_STIFFNESS_PER_S = 40.0  # of the position loop: speed per distance


class Servo:
    """`position` is where the magnet is, in steps, before the homing offset is taken off."""

    def __init__(self, number: int, position: float, low: int, high: int, offset: int) -> None:
        self._beginning = number, position, low, high, offset
        self.stiffness_per_s = _STIFFNESS_PER_S
        self.begin()

    def begin(self) -> None:
        """As it was made: at rest, limp, calibrated."""
        number, self.position, low, high, offset = self._beginning
        self.memory, self.speed = bytearray(_SIZE), 0.0
        self.latched = 0  # errors that stay until torque is given again
        self.jammed = False  # the overload comes back as soon as torque is given
        self.voltage_v, self.heat_c = 12.0, 30
        for address, (size, value) in _FACTORY.items():
            self._put(address, value, size)
        self._put(5, number)
        self._put(9, low, 2)
        self._put(11, high, 2)
        self._put(31, _coded(offset, 11), 2)
        self._saved = bytes(self.memory[:_SRAM])
        self.power_on()

    @property
    def number(self) -> int:
        return self.memory[5]

    @property
    def error(self) -> int:
        volts = 10 * self.voltage_v
        low = volts < self.memory[15] or volts > self.memory[14]
        hot = self.heat_c > self.memory[13]
        return self.latched | (VOLTAGE if low else 0) | (HEAT if hot else 0)

    @property
    def shown(self) -> float:
        """The position that the servo tells: its homing offset taken off."""
        return self.position - _decoded(self._get(31, 2), 11)

    def power_on(self) -> None:
        """What was not saved is gone; the motor is limp."""
        self.memory[:] = bytes(_SIZE)
        self.memory[:_SRAM] = self._saved
        for address, (size, value) in _POWER_ON.items():
            self._put(address, value, size)
        self._put(_LIMIT, self._get(16, 2), 2)
        self.speed, self.latched = 0.0, 0
        self._put(_GOAL, _coded(round(self.shown), 15), 2)
        self.show()

    def read(self, address: int, size: int) -> bytes:
        self.show()
        return bytes(self.memory[address : address + size]).ljust(size, b"\0")

    def write(self, address: int, data: bytes) -> None:
        for at, byte in enumerate(data, address):
            if at < _SIZE and at not in _READ_ONLY:
                self.memory[at] = byte
                if at < _SRAM and not self.memory[_LOCK]:
                    self._saved = self._saved[:at] + bytes((byte,)) + self._saved[at + 1 :]
        if address <= _TORQUE < address + len(data) and self.memory[_TORQUE] == 1:
            self.latched = 0
            if self.jammed:
                self.overload()

    def overload(self) -> None:
        """It has pushed for too long and lets go."""
        self.latched |= OVERLOAD
        self.memory[_TORQUE] = 0

    def advance(self, dt_s: float) -> None:
        """Move for a while."""
        if not self.memory[_TORQUE] or self.error & (VOLTAGE | HEAT):
            self.speed = 0.0
            return
        goal = _decoded(self._get(_GOAL, 2), 15)
        low, high = self._get(9, 2), self._get(11, 2)
        goal = min(max(goal, low), high) if (low, high) != (0, 0) else goal
        away = goal - self.shown
        fastest = _decoded(self._get(_SPEED, 2), 15) or _FASTEST
        wanted = min(max(away * self.stiffness_per_s, -fastest), fastest)
        gain = self.memory[_ACCELERATION] * 100 * dt_s
        if gain:
            wanted = min(max(wanted, self.speed - gain), self.speed + gain)
        step = wanted * dt_s
        if abs(step) >= abs(away) and step * away > 0:
            step, wanted = away, 0.0
        self.position += step
        self.speed = wanted

    def show(self) -> None:
        """Into the memory: how it is."""
        self._put(56, _coded(round(self.shown) % _TURN, 15), 2)
        self._put(58, _coded(round(self.speed), 15), 2)
        load = min(abs(round(self.speed / 4)), 1000)
        self._put(60, load | (1 << 10 if self.speed < 0 else 0), 2)
        self._put(62, min(round(10 * self.voltage_v), 255))
        self._put(63, self.heat_c)
        self._put(65, self.error)
        self._put(66, abs(self.speed) > 1)
        self._put(69, min(load // 5, 500), 2)

    def _get(self, address: int, size: int = 1) -> int:
        return int.from_bytes(self.memory[address : address + size], "little")

    def _put(self, address: int, value: int, size: int = 1) -> None:
        self.memory[address : address + size] = int(value).to_bytes(size, "little")


def _coded(value: int, bit: int) -> int:
    return value if value >= 0 else -value | 1 << bit


def _decoded(value: int, bit: int) -> int:
    return -(value & ~(1 << bit)) if value & 1 << bit else value
