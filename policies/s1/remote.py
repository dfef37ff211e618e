"""A policy server on another machine, as System 1: openpi's websocket protocol.

The server says what it is when a connection opens (a map of metadata); then each binary message
is an observation and each answer a map with `actions`; a text message is the server's error.
Every wait has a deadline, because a policy that waits for a dead server is a robot that nobody
drives: the step fails, the running chunk ends in a smooth stop, and the next step tries to
connect again.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tandem.policies.s1 import ndarray_msgpack
from tandem.policies.s1.mapping import Mapper
from tandem.runtime.errors import DeviceError, DeviceTimeoutError, WireError
from tandem.runtime.interfaces import ActionSpec, ArmSpec, Observation, S1Spec
from tandem.runtime.messages import Conditioning
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

Array = np.ndarray
_MIB = 1 << 20
_CLOSE_S = 0.2


class RemotePolicy:
    """openpi (or anything that speaks its protocol) in the chair of System 1; needs no System 2."""

    def __init__(
        self,
        host: str,
        port: int = 8000,
        *,
        action_names: tuple[str, ...] = (),
        action: ActionSpec | None = None,
        horizon: int,
        dt_ms: float,
        mapping: Mapping[str, str],
        cameras: tuple[str, ...] = (),
        actions_key: str = "actions",
        relative: bool = False,
        gripper_open_at: float = 1.0,
        open_width_m: float = 0.08,
        arm: ArmSpec | None = None,
        timeout_ms: float = 500.0,
        connect_timeout_ms: float = 2000.0,
        retry_ms: float = 500.0,
        max_mib: float = 16.0,
        api_key: str = "",
    ) -> None:
        """
        `mapping`: what the server calls it → what we have; see `mapping.Mapper` for the names.
        `action`: what the server's numbers mean; then they are given on as they are, and System 1
        makes joint positions of them. Without it they are those of `action_names`: joints, of which
        `relative` says that they are offsets from the command, and the hand, which is open at
        `gripper_open_at`, 1 or 0 (DROID checkpoints: 0).

        `open_width_m` is the width of the open hand; `arm` is needed where the mapping asks for the
        tool.

        No connection is made here: the first `step` does it, so that a robot starts without one.
        """
        self.spec = S1Spec(
            action=action or ActionSpec(tuple(action_names)),
            horizon=horizon,
            dt_ns=round(dt_ms * 1e6),
            latent_id=None,
            max_age_ms=float("inf"),
            cameras=tuple(cameras),
        )
        self.metadata: dict[str, Any] = {}
        self.server_timing: dict[str, float] = {}
        self._uri = host if host.startswith(("ws://", "wss://")) else f"ws://{host}:{port}"
        self._mapper = Mapper(mapping, open_width_m, arm)
        self._actions_key, self._relative = actions_key, relative
        self._open_at = gripper_open_at
        self._as_they_are = action is not None
        self._timeout_s, self._connect_s = timeout_ms * 1e-3, connect_timeout_ms * 1e-3
        self._retry_s, self._max_bytes = retry_ms * 1e-3, round(max_mib * _MIB)
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        self._connection: ClientConnection | None = None
        self._opened = contextlib.ExitStack()
        self._not_before_s = 0.0
        self._instruction = ""

    def reset(self, instruction: str) -> None:
        self._instruction = instruction

    def step(self, obs: Observation, conditioning: Conditioning | None, committed: Array) -> Array:
        """Ask the server; actions [H, D] with the gripper 0 closed … 1 open.

        Raises:
            DeviceError: no server, an error of the server's, or an answer that is no chunk.
            DeviceTimeoutError: it did not answer in time; the connection is given up.
        """
        request = ndarray_msgpack.pack(self._mapper.observation(obs, self._instruction))
        connection = self._connected()
        deadline_s = time.monotonic() + self._timeout_s
        try:
            connection.send(request)
            answer = connection.recv(timeout=max(0.0, deadline_s - time.monotonic()))
        except TimeoutError as error:
            # A late answer would be taken for the answer to the next question.
            self.close()
            raise DeviceTimeoutError(
                f"{self._uri} did not answer within {self._timeout_s * 1e3:.0f} ms; is the server "
                "busy or compiling? Raise timeout_ms if this is its normal pace"
            ) from error
        except (WebSocketException, OSError) as error:
            self.close()
            raise DeviceError(
                f"lost {self._uri} ({error}); trying again at the next step"
            ) from error
        if isinstance(answer, str):
            self.close()
            raise DeviceError(f"{self._uri} failed: {answer.strip()[-500:]}")
        return self._chunk(answer, obs)

    def close(self) -> None:
        """Give the connection up; the next step makes a new one."""
        connection, self._connection = self._connection, None
        self._not_before_s = time.monotonic() + self._retry_s
        if connection is not None:
            # Without a goodbye: a peer that hangs would make us wait for its half of it.
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(WebSocketException, OSError):
            self._opened.close()

    def _connected(self) -> ClientConnection:
        if self._connection is not None:
            return self._connection
        if time.monotonic() < self._not_before_s:
            raise DeviceError(f"{self._uri} is not there; next try within {self._retry_s:.1f} s")
        self._not_before_s = time.monotonic() + self._retry_s
        try:
            connection = self._opened.enter_context(
                connect(
                    self._uri,
                    compression=None,
                    max_size=self._max_bytes,
                    open_timeout=self._connect_s,
                    close_timeout=_CLOSE_S,
                    ping_interval=None,
                    additional_headers=self._headers,
                )
            )
        except (WebSocketException, OSError) as error:
            raise DeviceError(
                f"no policy server at {self._uri} ({error}); start it, or mend s1.host and s1.port"
            ) from error
        # A server that stops reading would block a send for ever.
        limit = struct.pack("ll", int(self._timeout_s), int(self._timeout_s % 1 * 1e6))
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._connection = connection
        self._greet(connection)
        return connection

    def _greet(self, connection: ClientConnection) -> None:
        """The server speaks first: its metadata."""
        try:
            greeting = connection.recv(timeout=self._connect_s)
            if isinstance(greeting, str):
                raise DeviceError(f"{self._uri} failed: {greeting.strip()[-500:]}")
            metadata = self._unpacked(greeting)
        except (TimeoutError, WebSocketException, OSError, DeviceError) as error:
            self.close()
            raise DeviceError(
                f"{self._uri} opened but did not say what it is ({error}); is it an openpi server?"
            ) from error
        self.metadata = metadata

    def _unpacked(self, data: bytes) -> dict[str, Any]:
        try:
            value = ndarray_msgpack.unpack(data, self._max_bytes)
        except WireError as error:
            self.close()
            raise DeviceError(f"{self._uri} sent {error}") from error
        if not isinstance(value, dict):
            self.close()
            raise DeviceError(f"{self._uri} sent a {type(value).__name__}, not a map")
        return value

    def _chunk(self, answer: bytes, obs: Observation) -> Array:
        reply = self._unpacked(answer)
        timing = reply.get("server_timing")
        self.server_timing = timing if isinstance(timing, dict) else {}
        actions, width = reply.get(self._actions_key), len(self.spec.action.names)
        if not isinstance(actions, np.ndarray) or actions.ndim != 2 or actions.shape[1] < width:
            shape = getattr(actions, "shape", None)
            raise DeviceError(
                f"{self._uri} answered {sorted(map(str, reply))}; wanted {self._actions_key!r} of "
                f"shape [H, {width}], got {shape}"
            )
        # Some checkpoints pad their actions to the width of the largest robot.
        chunk = actions[: self.spec.horizon, :width].astype(np.float64)
        if not len(chunk) or not np.isfinite(chunk).all():
            raise DeviceError(f"{self._uri} answered actions that are empty or not finite")
        return chunk if self._as_they_are else self._ours(chunk, obs)

    def _ours(self, chunk: Array, obs: Observation) -> Array:
        """Absolute joints, gripper 0 closed … 1 open."""
        if self._relative and obs.state is not None:
            chunk[:, :-1] += obs.state.q_cmd
        gripper = chunk[:, -1] if self._open_at >= 0.5 else 1.0 - chunk[:, -1]
        chunk[:, -1] = np.clip(gripper, 0.0, 1.0)
        return chunk
