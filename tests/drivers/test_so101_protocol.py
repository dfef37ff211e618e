"""The bus against the vendor's client: its bytes are ours, and our emulator is real to it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import scservo_sdk as vendor
from hypothesis import given, settings
from hypothesis import strategies as st
from tandem.drivers.so101 import protocol, registers
from tandem.drivers.so101.protocol import Parser, Status

from tests.drivers.so101_rig import Emulator

patient = settings(deadline=None)
ids = st.integers(0, 253)
words = st.integers(0, 65535)


class Wiretap:
    """In place of the vendor's port: keeps what its client says, and says nothing."""

    is_using = False

    def __init__(self) -> None:
        self.said = b""

    def clearPort(self) -> None: ...

    def writePort(self, data: Any) -> int:
        self.said = bytes(data)
        return len(data)

    def setPacketTimeout(self, length: int) -> None: ...


CLIENT = vendor.PacketHandler(0)


@given(ids, st.integers(0, 80), words)
@patient
def test_a_write_is_the_vendors(servo: int, address: int, value: int):
    tap = Wiretap()
    CLIENT.write2ByteTxOnly(tap, servo, address, value)
    assert protocol.write(servo, address, value.to_bytes(2, "little")) == tap.said


@given(ids, st.integers(0, 80), st.integers(1, 30))
@patient
def test_a_read_is_the_vendors(servo: int, address: int, size: int):
    tap = Wiretap()
    CLIENT.readTx(tap, servo, address, size)
    assert protocol.read(servo, address, size) == tap.said


@given(st.dictionaries(ids, words, min_size=1, max_size=20), st.integers(0, 80))
@patient
def test_sync_write_and_sync_read_are_the_vendors(values: dict[int, int], address: int):
    tap = Wiretap()
    group = vendor.GroupSyncWrite(tap, CLIENT, address, 2)
    for servo, value in values.items():
        group.addParam(servo, list(value.to_bytes(2, "little")))
    group.txPacket()
    rows = {servo: value.to_bytes(2, "little") for servo, value in values.items()}
    assert protocol.sync_write(address, rows) == tap.said
    tap.is_using = False
    CLIENT.syncReadTx(tap, address, 31, list(values), len(values))
    assert protocol.sync_read(address, 31, values) == tap.said


@given(st.integers(-32767, 32767))
@patient
def test_signs_are_the_vendors(value: int):
    coded = int.from_bytes(registers.VELOCITY.bytes_of(value), "little")
    assert coded == vendor.SCS_TOSCS(value, 15)
    assert registers.VELOCITY.value_of(coded.to_bytes(2, "little")) == value


# -- statuses out of bytes -------------------------------------------------------------------------

statuses = st.lists(st.tuples(ids, st.integers(0, 0x7F), st.binary(max_size=31)), max_size=6)


def said(servo: int, error: int, data: bytes) -> bytes:
    body = bytes((servo, len(data) + 2, error)) + data
    return b"\xff\xff" + body + bytes((~sum(body) & 0xFF,))


@given(statuses, st.lists(st.integers(1, 9), max_size=40))
@patient
def test_statuses_are_found_in_whatever_pieces_they_come(told: list[Any], cuts: list[int]):
    stream, parser, found = b"".join(said(*one) for one in told), Parser(), []
    for cut in cuts:
        found += parser.feed(stream[:cut])
        stream = stream[cut:]
    found += parser.feed(stream)
    assert found == [Status(*one) for one in told]


@given(st.tuples(ids, st.just(0), st.binary(min_size=1, max_size=31)), st.data())
@patient
def test_one_damaged_byte_is_never_believed(told: Any, data: st.DataObject):
    packet = bytearray(said(*told))
    at = data.draw(st.integers(2, len(packet) - 1))
    packet[at] ^= data.draw(st.integers(1, 255))
    assert Status(*told) not in Parser().feed(bytes(packet))
    if at != 3:  # but for the length, which shifts the end
        assert Parser().feed(bytes(packet)) == []


@given(st.binary(max_size=20).filter(lambda noise: b"\xff" not in noise), statuses)
@patient
def test_noise_before_a_status_is_passed_over(noise: bytes, told: list[Any]):
    stream = noise + b"".join(said(*one) for one in told)
    assert Parser().feed(stream) == [Status(*one) for one in told]


@pytest.mark.parametrize(
    ("bit", "word"), [(1, "voltage"), (2, "encoder"), (4, "hot"), (8, "current"), (32, "overload")]
)
def test_errors_are_told_in_words(bit: int, word: str):
    assert word in str(protocol.meaning(bit))
    assert protocol.meaning(0) is None


# -- the vendor's client on our emulator -----------------------------------------------------------


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    made = Emulator(tmp_path_factory.mktemp("so101"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def port(emulator: Emulator) -> Iterator[Any]:
    handler = vendor.PortHandler(str(emulator.link))
    assert handler.openPort()
    yield handler
    handler.closePort()


def test_the_vendors_ping_finds_six_servos(port: Any):
    for servo in range(1, 7):
        assert CLIENT.ping(port, servo) == (777, vendor.COMM_SUCCESS, 0)
    assert CLIENT.ping(port, 7)[1] == vendor.COMM_RX_TIMEOUT


def test_the_vendors_client_writes_and_reads_back(port: Any):
    for value in (0, 1, 1234, 4095):
        assert CLIENT.write2ByteTxRx(port, 2, 42, value) == (vendor.COMM_SUCCESS, 0)
        assert CLIENT.read2ByteTxRx(port, 2, 42) == (value, vendor.COMM_SUCCESS, 0)


def test_a_registered_write_waits_for_its_action(port: Any):
    CLIENT.write2ByteTxRx(port, 3, 42, 2000)
    CLIENT.regWriteTxRx(port, 3, 42, 2, [0xD0, 0x08])
    assert CLIENT.read2ByteTxRx(port, 3, 42)[0] == 2000
    CLIENT.action(port, vendor.BROADCAST_ID)
    assert CLIENT.read2ByteTxRx(port, 3, 42)[0] == 0x08D0


def test_the_vendors_groups_move_all_servos(port: Any):
    reader = vendor.GroupSyncRead(port, CLIENT, 56, 4)
    for servo in range(1, 7):
        assert reader.addParam(servo)
        CLIENT.write1ByteTxRx(port, servo, 40, 1)
    for goal in (2200, 2100):
        writer = vendor.GroupSyncWrite(port, CLIENT, 42, 2)
        for servo in range(1, 7):
            writer.addParam(servo, [goal & 255, goal >> 8])
        assert writer.txPacket() == vendor.COMM_SUCCESS
        end_s = time.monotonic() + 3.0
        while time.monotonic() < end_s:
            assert reader.txRxPacket() == vendor.COMM_SUCCESS
            shown = [reader.getData(servo, 56, 2) for servo in range(1, 7)]
            if all(abs(position - goal) <= 1 for position in shown):
                break
        assert shown == pytest.approx([goal] * 6, abs=1)


def test_what_is_locked_is_forgotten_without_power(emulator: Emulator, port: Any):
    CLIENT.write1ByteTxRx(port, 1, 21, 16)
    CLIENT.write1ByteTxRx(port, 2, 55, 0)
    CLIENT.write1ByteTxRx(port, 2, 21, 16)
    emulator.tell("power")
    assert CLIENT.read1ByteTxRx(port, 1, 21)[0] == 32
    assert CLIENT.read1ByteTxRx(port, 2, 21)[0] == 16
