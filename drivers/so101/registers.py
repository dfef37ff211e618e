"""What a servo of the STS series remembers, and where (Feetech, STS/SMS series memory table).

Numbers of two bytes have the low byte first. Signed ones are a magnitude and one sign bit, never
two's complement. Below address 40 lies what survives the power; it is written while `LOCK` is 0.
"""

from typing import NamedTuple

STEPS_PER_TURN = 4096
MODEL_STS3215 = 777


class Register(NamedTuple):
    address: int
    size: int
    sign_bit: int | None = None

    def bytes_of(self, value: int) -> bytes:
        """
        Raises:
            ValueError: it does not fit.
        """
        if self.sign_bit is not None and value < 0:
            value = -value | 1 << self.sign_bit
        if not 0 <= value < 1 << 8 * self.size:
            raise ValueError(f"{value} does not fit into {self}")
        return value.to_bytes(self.size, "little")

    def value_of(self, data: bytes) -> int:
        value = int.from_bytes(data[: self.size], "little")
        if self.sign_bit is None:
            return value
        magnitude = value & ~(1 << self.sign_bit)
        return -magnitude if value >> self.sign_bit & 1 else magnitude

    def within(self, start: int, block: bytes) -> int:
        """Its value in a block of registers that begins at `start`."""
        return self.value_of(block[self.address - start : self.address - start + self.size])


MODEL = Register(3, 2)
RETURN_DELAY = Register(7, 1)  # 2 µs
MIN_POSITION = Register(9, 2)
MAX_POSITION = Register(11, 2)
PHASE = Register(18, 1)
HOMING_OFFSET = Register(31, 2, sign_bit=11)  # position shown = position of the magnet − this
OPERATING_MODE = Register(33, 1)  # 0: position

TORQUE_ENABLE = Register(40, 1)
ACCELERATION = Register(41, 1)  # 100 steps/s²
GOAL_POSITION = Register(42, 2, sign_bit=15)
GOAL_TIME = Register(44, 2)
GOAL_VELOCITY = Register(46, 2, sign_bit=15)  # steps/s, 0: as fast as it can
TORQUE_LIMIT = Register(48, 2)  # 0.1 %
LOCK = Register(55, 1)
POSITION = Register(56, 2, sign_bit=15)
VELOCITY = Register(58, 2, sign_bit=15)
LOAD = Register(60, 2, sign_bit=10)  # 0.1 % of the motor's voltage
VOLTAGE = Register(62, 1)  # 0.1 V
TEMPERATURE = Register(63, 1)  # °C
CURRENT = Register(69, 2, sign_bit=15)  # 6.5 mA

# Bit 2 of the phase: velocities are in steps/s; without it in units of 50 steps/s.
FINE_VELOCITY = 0x04
COARSE_STEPS = 50

# What one question asks of every servo: from what it was told to how it is.
BLOCK_START = TORQUE_ENABLE.address
BLOCK_SIZE = CURRENT.address + CURRENT.size - BLOCK_START
