"""The emulator as a whole: its ports, its beat, and what is said on each.

On the wall clock it ticks every millisecond whoever keeps up. In lockstep its time stands still
until the client has answered: nothing is late, and a run gives the same result on any machine.
"""

import select
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.tools.fci_emulator import gripper, orders
from tandem.tools.fci_emulator.body import Body
from tandem.tools.fci_emulator.desk import Answer, Desk
from tandem.tools.fci_emulator.dialect import CONNECT, GRIPPER_PORT, HEADER, ROBOT_PORT, RobotMode
from tandem.tools.fci_emulator.exchange import Reply
from tandem.tools.fci_emulator.faults import Channel
from tandem.tools.fci_emulator.models import START_Q, Model
from tandem.tools.fci_emulator.robot import Robot
from tandem.tools.fci_emulator.wire import Port

_HAND_SPEAKS_S = 0.3  # the hand's client takes a second of silence for a lost connection
_LOG = 2000  # entries; one line of an answer must hold them
_FIRST_S = 0.02  # a client reads a few states of a motion before it answers one
_BEHIND_NS = 50 * NS_PER_MS  # the machine stood still: do not run after it


@dataclass(frozen=True)
class Pace:
    """How time passes. `speed`: of the robot's clock against this machine's."""

    lockstep: bool = False
    speed: float = 1.0
    patience_s: float = 1.0  # of lockstep: no answer for so long is a lost packet

    @property
    def tick_ns(self) -> int:
        return round(NS_PER_MS / self.speed)


class Emulator:
    """One arm with its hand on one address; `run` until `stopping`."""

    def __init__(
        self, model: Model, body: Body, host: str, pace: Pace | None = None, seed: int = 0
    ) -> None:
        """Raises DeviceError: the address cannot be had."""
        self.pace = pace or Pace()
        self.robot = Robot(model, body)
        self.hand = gripper.Hand(lambda: body.width_m)
        self._seed = seed
        self.channel = Channel(seed)
        self.stopping = False
        self.told_tick = self.heard_tick = 0  # of the newest state that left, and command that came
        self.log: deque[tuple[str, int]] = deque(maxlen=_LOG)  # what went wrong, and when, ns
        self.late_ticks = 0  # of our own, on the wall clock: more than a period behind
        self._fci = Port(host, ROBOT_PORT, HEADER)
        self._hand_port = Port(host, GRIPPER_PORT, gripper.HEADER)
        self.further: dict[str, Answer] = {}  # what else may be asked at its own port, by name
        self._desk = Desk(host, partial(orders.obey, self))
        self._hand_state = b""
        self._message_id = 0
        self._commands = np.zeros(1, model.dialect.command)
        self._command: np.ndarray | None = None

    def run(self, besides: Callable[[], None] = lambda: None) -> None:
        """`besides`: what else is to be done every millisecond."""
        due_ns = time.monotonic_ns()
        while not self.stopping:
            besides()
            if not self._waits:
                self._desk.poll()
            if self.channel.faults.frozen:
                time.sleep(0.01)
                due_ns = time.monotonic_ns()
                continue
            waited = self._waits and self._await_answer()
            due_ns = self._beat(due_ns, waited)
            self.tick()

    def tick(self) -> None:
        """One millisecond of the robot's life."""
        self._serve_robot()
        self._serve_hand()
        self._hear()
        command, self._command = self._command, None
        if command is not None and not self.channel.arrives():
            command = None
        self.robot.opening_m = self.hand.wanted_m
        self._note(command)
        self._message_id += 1
        for state in self.channel.leaving(self.robot.state(self._message_id)):
            self._fci.say(state)
            self.told_tick = self._message_id
        self._send_replies()  # a state that has ended its motion goes before the reply that says so

    def _note(self, command: np.ndarray | None) -> None:
        """The robot's millisecond; and when something went wrong in it, by this machine's clock."""
        tally, mode = self.robot.judge.tally, self.robot.mode
        lost = tally.lost
        self.robot.tick(command)
        if tally.lost > lost:
            self.log.append(("lost", time.monotonic_ns()))
        if self.robot.mode == RobotMode.REFLEX and mode != RobotMode.REFLEX:
            self.log.append(("reflex", time.monotonic_ns()))

    @property
    def ticks(self) -> int:
        """Of the robot's own clock, ms."""
        return self._message_id

    def hang_up(self) -> None:
        """Close the connection to the robot's client, as a network does."""
        self._fci.drop()
        self.robot.abandon()

    def restart(self) -> None:
        """As after switching on; a light arm stands at its start again."""
        self.channel = Channel(self._seed)
        for port in (self._fci, self._hand_port):
            port.drop()
        self.hand.leave()
        self._command = None
        simulated = hasattr(self.robot.body, "world")
        self.robot.restart(self.robot.body.q if simulated else START_Q)

    def close(self) -> None:
        for part in (self._fci, self._hand_port, self._desk):
            part.close()

    # -- time --------------------------------------------------------------------------------------

    @property
    def _waits(self) -> bool:
        channel = self.channel.faults
        due = self.robot.listening and not self.robot.aiming
        return self.pace.lockstep and due and not channel.silent

    def _beat(self, due_ns: int, waited: bool) -> int:
        """Sleep to the next tick, unless the client has given the beat; when it was due."""
        now_ns = time.monotonic_ns()
        if waited:
            return now_ns
        due_ns += self.pace.tick_ns
        if now_ns - due_ns > _BEHIND_NS:
            self.late_ticks += (now_ns - due_ns) // self.pace.tick_ns
            return now_ns
        if due_ns > now_ns:
            time.sleep((due_ns - now_ns) / NS_PER_S)
        return due_ns

    def _await_answer(self) -> bool:
        """Lockstep: until the command for the newest state is here, or something else happens."""
        self._hear()
        patience_s = self.pace.patience_s if self.robot.commanded else _FIRST_S
        deadline_s = time.monotonic() + patience_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self._command is not None or not self.robot.listening or self.stopping:
                return True
            ports = [self._fci.udp, self._fci, self._hand_port, *self._desk.sockets()]
            ports += [p.peer for p in (self._fci, self._hand_port) if p.peer is not None]
            if not select.select(ports, (), (), min(left_s, _HAND_SPEAKS_S))[0]:
                self._hand_port.say(self._hand_state)
            self._hear()
            if self._command is not None:
                continue  # before whatever was asked for after it was sent
            self._serve_robot()
            self._hear_hand()
            self._desk.poll()
            if self.channel.faults.frozen or self.channel.faults.silent:
                return True
        return True

    # -- the robot's port --------------------------------------------------------------------------

    def _hear(self) -> None:
        """Keep the command that answers the newest state; an older one counts as lost, unless it
        is a target, which answers nothing."""
        size = self._commands.dtype.itemsize
        for datagram in self._fci.heard(size + 1):
            if len(datagram) == size:
                self.heard_tick = self._message_id
                row = np.frombuffer(datagram, self._commands.dtype)[0]
                if row["message_id"] == self._message_id or self.robot.aiming:
                    self._command = row

    def _serve_robot(self) -> None:
        if self._fci.accept() is not None:
            self._command = None
            self.robot.abandon()
        peer = self._fci.peer
        if peer is None:
            return
        for number, request_id, payload in peer.requests():
            self._request(number, request_id, payload)
            self._send_replies()
        peer.flush()
        if peer.gone:
            self._fci.drop()
            self.robot.abandon()

    def _request(self, number: int, request_id: int, payload: bytes) -> None:
        dialect = self.robot.model.dialect
        if number >= len(dialect.commands):
            return  # not of this version: the robot does not answer what it does not know
        name = dialect.commands[number]
        if name != "Connect":
            self.robot.handle(name, request_id, payload)
            return
        version, port = CONNECT.unpack(payload)
        right = version == dialect.version
        answer = bytes([not right]) + dialect.version.to_bytes(2, "little")
        self._fci.peer.send(HEADER.pack(number, request_id, HEADER.size + len(answer)) + answer)
        if right:
            self._fci.peer.udp_port = port

    def _send_replies(self) -> None:
        replies, self.robot.outbox = self.robot.outbox, []
        if self._fci.peer is not None:
            for reply in replies:
                self._fci.peer.send(self._packed(reply))

    def _packed(self, reply: Reply) -> bytes:
        dialect = self.robot.model.dialect
        status = bytes([dialect.status(reply.name, reply.word)])
        size = HEADER.size + 1 + len(reply.payload)
        number = dialect.commands.index(reply.name)
        return HEADER.pack(number, reply.request_id, size) + status + reply.payload

    # -- the hand's port ---------------------------------------------------------------------------

    def _serve_hand(self) -> None:
        self._hear_hand()
        state = self.hand.tick()
        if state is not None:
            self._hand_state = state
            self._hand_port.say(state)

    def _hear_hand(self) -> None:
        port, hand = self._hand_port, self.hand
        peer = port.accept()
        hand.peer = peer or hand.peer
        if hand.peer is not None:
            for number, request_id, payload in hand.peer.requests():
                hand.handle(number, request_id, payload)
            if hand.peer.gone:
                port.drop()
                hand.leave()
