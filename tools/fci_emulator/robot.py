"""The arm's controller: modes, motions, reflexes, one millisecond after the other. No sockets.

Requests come in as names with payloads, replies go out through `outbox`; the server carries them.
"""

from collections import deque

import numpy as np
from tandem.tools.fci_emulator.body import OPEN_M, Body
from tandem.tools.fci_emulator.datagram import IDLE, Datagram
from tandem.tools.fci_emulator.dialect import Controller, Error, Generator, RobotMode
from tandem.tools.fci_emulator.exchange import ANSWERS, Motion, Reply
from tandem.tools.fci_emulator.judge import Judge
from tandem.tools.fci_emulator.models import Model
from tandem.tools.fci_emulator.settings import Settings
from tandem.tools.fci_emulator.targets import Targets

_BLOCKED_RAD = 0.15  # the arm so far from its set-point has met something
_WINDOW = 100  # ticks of the success rate
_KNOWN = (Generator.JOINT_POSITION, Generator.JOINT_VELOCITY)
_RECOVERY_TICKS = 50
_FIRST_COMMAND_TICKS = 500


class Robot:
    """`handle` a request, `tick` a millisecond, read `state`."""

    def __init__(self, model: Model, body: Body) -> None:
        self.model, self.body = model, body
        self.mode = RobotMode.IDLE
        self.opening_m = OPEN_M  # what the hand wants
        self.judge = Judge(model, body.q)
        self.outbox: list[Reply] = []
        self.settings = Settings()
        self._motion: Motion | None = None
        self._errors: set[Error] = set()
        self._reasons: set[Error] = set()
        self._came: deque[bool] = deque(maxlen=_WINDOW)
        self._braking = False
        self._recovering: tuple[int, int] | None = None  # request, ticks left
        self._ticks = 0
        self._deaf = 0  # ticks
        self._patience = 0  # ticks that the first command of a motion may still take
        self._datagram = Datagram(model)
        self._state = self._datagram.row

    # -- what others want --------------------------------------------------------------------------

    @property
    def listening(self) -> bool:
        """A motion is under way: commands are due every millisecond."""
        return self._motion is not None

    @property
    def commanded(self) -> bool:
        """And the first command of this motion has come."""
        return self.listening and self._patience == 0 and not self.aiming

    @property
    def aiming(self) -> bool:
        """The motion under way is one of targets: they may come whenever they like."""
        return self._motion is not None and self._motion.targets is not None

    def handle(self, name: str, request_id: int, payload: bytes) -> None:
        """Answer a request, now or when it is done."""
        wanted = self.model.dialect.payload_size(name)
        if wanted is not None and len(payload) != wanted:
            self._reply(name, request_id, "InvalidArgument")
        elif name == "Move":
            self._start(request_id, payload)
        elif name == "StopMove":
            self._stop_move(request_id)
        elif name == "AutomaticErrorRecovery":
            self._recover(request_id)
        elif name in ANSWERS:
            self._reply(name, request_id, *ANSWERS[name](self.model))
        elif self.listening:
            self._reply(name, request_id, "NotPossible")
        else:
            self._reply(name, request_id, self.settings.take(name, payload, self._state))

    def abandon(self) -> None:
        """The client is gone: a motion without a commander is aborted."""
        if self.listening:
            self._abort(Error.COMMUNICATION)
        self._recovering = None
        self.outbox.clear()

    def reflex(self, error: Error) -> None:
        """As if the arm had met something: an error of its own."""
        self._abort(error)

    def user_stop(self, pressed: bool) -> None:
        """The external activation device: pressed, nothing moves until it is released."""
        if pressed:
            self._end("Aborted")
            self._braking, self.mode = True, RobotMode.USER_STOPPED
        elif self.mode == RobotMode.USER_STOPPED:
            self.mode = RobotMode.REFLEX if self._errors else RobotMode.IDLE

    def place(self, q: np.ndarray) -> None:
        """Put the arm at `q` [7], at rest, as no real one can be; a motion goes on from there."""
        self.judge.place(q)
        self._deaf = 2  # what is on its way was meant for where the arm was

    def restart(self, q: np.ndarray) -> None:
        """As after switching on, with the arm at `q` [7]; nobody is connected."""
        self.abandon()
        self._errors.clear()
        self._state["errors"] = self._state["reflex_reason"] = 0
        self._braking, self.mode = False, RobotMode.IDLE
        self.settings = Settings()
        self.opening_m = OPEN_M
        self.judge = Judge(self.model, q)

    # -- time --------------------------------------------------------------------------------------

    def tick(self, command: np.ndarray | None) -> None:
        """One millisecond, with the command that came for it, or None."""
        self._ticks += 1
        if self._motion is not None:
            self._follow(self._motion, command)
        elif self._braking:
            self._braking = not self.judge.brake()
        self._tick_recovery()
        judge = self.judge
        self.body.step(judge.q, judge.dq, judge.ddq, self.opening_m)
        if not self._errors and np.abs(self.body.q - judge.q).max() > _BLOCKED_RAD:
            self._abort(Error.JOINT_REFLEX)

    def state(self, message_id: int) -> memoryview:
        """The datagram of this millisecond; valid until the next."""
        motion = self._motion
        share = sum(self._came) / max(len(self._came), 1) if motion else 0.0
        doing = (motion.generator, motion.controller) if motion else IDLE
        return self._datagram.fill(message_id, self.body, self.judge, self.mode, doing, share)

    # -- motions -----------------------------------------------------------------------------------

    def _start(self, request_id: int, payload: bytes) -> None:
        controller, generator, *deviations = self.model.dialect.move.unpack(payload)
        aiming = any(deviations[6:7])
        if self.mode != RobotMode.IDLE or self._motion is not None or self._braking:
            self._reply("Move", request_id, "NotPossible")
            return
        unknown = generator + 1 not in _KNOWN or controller == Controller.EXTERNAL
        if unknown or (aiming and generator + 1 != Generator.JOINT_POSITION):
            # What is not emulated is refused, never pretended.
            self._reply("Move", request_id, "InvalidArgument")
            return
        targets = Targets(self.model, self.judge.q, deviations[7:]) if aiming else None
        self._motion = Motion(request_id, Generator(generator + 1), Controller(controller), targets)
        self.mode = RobotMode.MOVE
        self.judge.begin()
        self._patience = _FIRST_COMMAND_TICKS
        self._came.clear()
        self._reply("Move", request_id, "MotionStarted")

    def _follow(self, motion: Motion, command: np.ndarray | None) -> None:
        if motion.targets is not None:
            self._aim(motion.targets, command)
            return
        if command is None and self._patience > 0:
            self._patience -= 1  # the client reads a few states before it sends its first command
            return
        if self._deaf > 0:
            self._deaf, command = self._deaf - 1, None
        self._came.append(command is not None)
        if command is None:
            error = self.judge.lose()
        elif command["motion_finished"]:
            error = self._take(motion, command) or self.judge.rest()
            if error is None:
                self._end("Success")
        else:
            self._patience = 0
            error = self._take(motion, command)
        if error is not None:
            self._abort(error)

    def _aim(self, targets: Targets, command: np.ndarray | None) -> None:
        self._came.append(True)  # nothing is due, so nothing is missing
        if command is not None:
            self.judge.tally.received += 1
            if command["motion_finished"]:
                self._end("Success")
                self._braking = not self.judge.brake()
                return
            if not targets.aim(command["q_c"]):
                self._abort(Error.MG_POSITION_LIMITS)
                return
        error = self.judge.follow(targets.next())
        if error is not None:
            self._abort(error)

    def _take(self, motion: Motion, command: np.ndarray) -> Error | None:
        if motion.generator == Generator.JOINT_VELOCITY:
            return self.judge.command_velocity(command["dq_c"])
        return self.judge.command(command["q_c"])

    def _stop_move(self, request_id: int) -> None:
        if self._motion is not None:
            self._end("Preempted")
            self._braking = True
        self._reply("StopMove", request_id, "Success")

    def _end(self, word: str) -> None:
        """The motion is over; the state says so before the reply does."""
        if self._motion is not None:
            self._reply("Move", self._motion.request_id, word)
        self._motion = None
        if self.mode == RobotMode.MOVE:
            self.mode = RobotMode.IDLE

    def _abort(self, error: Error) -> None:
        self._errors.add(error)
        self._reasons.add(error)
        self._state["errors"][error] = self._state["reflex_reason"][error] = 1
        self._end("Reflex")
        self._braking = True
        if self.mode != RobotMode.USER_STOPPED:
            self.mode = RobotMode.REFLEX

    # -- recovery and settings ---------------------------------------------------------------------

    def _recover(self, request_id: int) -> None:
        if self.mode == RobotMode.USER_STOPPED or self.listening:
            self._reply("AutomaticErrorRecovery", request_id, "NotPossible")
            return
        self.mode = RobotMode.RECOVERY
        self._recovering = (request_id, _RECOVERY_TICKS)

    def _tick_recovery(self) -> None:
        if self._recovering is None:
            return
        request_id, left = self._recovering
        self._recovering = (request_id, left - 1)
        if left > 0 or self._braking:
            return
        self._recovering = None
        self._errors.clear()
        self._state["errors"] = 0
        self.judge.place(self.body.q)
        self.mode = RobotMode.IDLE
        self._reply("AutomaticErrorRecovery", request_id, "Success")

    def _reply(self, name: str, request_id: int, word: str, payload: bytes = b"") -> None:
        self.outbox.append(Reply(name, request_id, word, payload))
