"""openpi's protocol against a server that speaks it with openpi's own codec, and misbehaves on
demand.

1. An observation goes out as the server expects it, and its chunk comes back as ours.
2. The server dies: the step fails at once with a text, and works again when the server is back.
3. A slow server costs its deadline, and its late answer is never taken for another one.
4. Garbage, oversize, objects, nonsense shapes: refused with a text, never an array.
"""

import contextlib
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
from tandem.policies.s1 import ndarray_msgpack
from tandem.policies.s1.remote import RemotePolicy
from tandem.runtime.errors import ConfigError, DeviceError, DeviceTimeoutError, WireError
from tandem.runtime.interfaces import Frame, Observation
from tandem.runtime.messages import RobotState
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

openpi = pytest.importorskip("openpi_client.msgpack_numpy")

Answer = Callable[[dict[str, Any]], bytes | str]
NAMES = (*(f"joint{i}" for i in range(7)), "gripper")


class PolicyServer:
    """openpi's server in a thread: metadata first, then an answer for each observation."""

    def __init__(self, answer: Answer, port: int = 0, greeting: bytes | None = None) -> None:
        self.answer, self.seen = answer, []
        self._greeting = openpi.packb({"model": "test"}) if greeting is None else greeting
        self._server: Server = serve(self._talk, "127.0.0.1", port, compression=None, max_size=None)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self._open: list[ServerConnection] = []

    def _talk(self, connection: ServerConnection) -> None:
        self._open.append(connection)
        with contextlib.suppress(ConnectionClosed):
            connection.send(self._greeting)
            for message in connection:
                observation = openpi.unpackb(message)
                self.seen.append(observation)
                connection.send(self.answer(observation))

    def kill(self) -> None:
        self._server.shutdown()
        for connection in self._open:
            connection.close()
        self._thread.join(5)


@pytest.fixture
def start() -> Iterator[Callable[..., PolicyServer]]:
    servers: list[PolicyServer] = []

    def _start(answer: Answer, **options: Any) -> PolicyServer:
        servers.append(PolicyServer(answer, **options))
        return servers[-1]

    yield _start
    for server in servers:
        server.kill()


def good(_: dict[str, Any]) -> bytes:
    actions = np.arange(160, dtype=np.float32).reshape(10, 16) / 160
    return openpi.packb({"actions": actions, "server_timing": {"infer_ms": 3.0}})


def policy(port: int, **options: Any) -> RemotePolicy:
    defaults: dict[str, Any] = {
        "action_names": NAMES,
        "horizon": 8,
        "dt_ms": 50.0,
        "mapping": {
            "observation/exterior_image_1_left": "image/front",
            "observation/joint_position": "q",
            "observation/gripper_position": "closing",
            "prompt": "instruction",
        },
        "cameras": ("front",),
        "retry_ms": 0.0,
    }
    made = RemotePolicy("127.0.0.1", port, **(defaults | options))
    made.reset("pick up the red cube")
    return made


def observation() -> Observation:
    state = RobotState(
        q=np.linspace(0, 1, 7),
        dq=np.zeros(7),
        tau=np.zeros(7),
        q_cmd=np.full(7, 0.5),
        dq_cmd=np.zeros(7),
        ddq_cmd=np.zeros(7),
        gripper_cmd=1.0,
        width_m=0.06,
        mode="policy",
        epoch=1,
    )
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    return Observation(0, {"front": Frame(image, 0, 0)}, state)


NOTHING = np.empty((0, 8))


def test_observation_out_and_chunk_back(start: Callable[..., PolicyServer]) -> None:
    server = start(good)
    remote = policy(server.port)
    obs = observation()
    chunk = remote.step(obs, None, NOTHING)
    assert remote.metadata == {"model": "test"}
    assert remote.server_timing == {"infer_ms": 3.0}
    assert chunk.shape == (8, 8)
    assert chunk.dtype == np.float64
    assert chunk[1, 0] == pytest.approx(16 / 160)
    seen = server.seen[0]
    assert seen["prompt"] == "pick up the red cube"
    np.testing.assert_array_equal(
        seen["observation/exterior_image_1_left"], obs.images["front"].image
    )
    np.testing.assert_allclose(seen["observation/joint_position"], np.linspace(0, 1, 7), rtol=1e-6)
    np.testing.assert_allclose(seen["observation/gripper_position"], [0.25], rtol=1e-6)
    remote.close()


def test_relative_actions_and_inverted_gripper(start: Callable[..., PolicyServer]) -> None:
    remote = policy(start(good).port, relative=True, gripper_open_at=0.0)
    chunk = remote.step(observation(), None, NOTHING)
    assert chunk[0, 0] == pytest.approx(0.5)
    assert chunk[0, 7] == pytest.approx(1 - 7 / 160)
    remote.close()


def test_a_killed_server_fails_fast_and_its_successor_is_found(
    start: Callable[..., PolicyServer],
) -> None:
    server = start(good)
    remote = policy(server.port)
    remote.step(observation(), None, NOTHING)
    server.kill()
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(DeviceError, match="ws://"):
            remote.step(observation(), None, NOTHING)
        assert time.monotonic() - began < 2.0
    start(good, port=server.port)
    assert remote.step(observation(), None, NOTHING).shape == (8, 8)
    remote.close()


def test_no_server_at_all_is_retried_no_more_often_than_told() -> None:
    remote = policy(1, retry_ms=60_000.0)
    with pytest.raises(DeviceError, match="no policy server at"):
        remote.step(observation(), None, NOTHING)
    with pytest.raises(DeviceError, match="next try within"):
        remote.step(observation(), None, NOTHING)


def test_a_slow_server_costs_its_deadline_and_no_stale_answer(
    start: Callable[..., PolicyServer],
) -> None:
    wake = threading.Event()

    def slow(_: dict[str, Any]) -> bytes:
        if not wake.is_set():
            wake.wait(10)
            return openpi.packb({"actions": np.full((8, 8), 9.0)})
        return openpi.packb({"actions": np.zeros((8, 8))})

    remote = policy(start(slow).port, timeout_ms=300.0)
    with pytest.raises(DeviceTimeoutError, match="within 300 ms"):
        remote.step(observation(), None, NOTHING)
    wake.set()
    assert remote.step(observation(), None, NOTHING).max() == 0.0
    remote.close()


def test_the_servers_own_error_is_shown(start: Callable[..., PolicyServer]) -> None:
    remote = policy(start(lambda _: "Traceback: out of memory").port)
    with pytest.raises(DeviceError, match="out of memory"):
        remote.step(observation(), None, NOTHING)


class _Gadget:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code from the network has run",))


def _raw(dtype: Any, shape: Any, data: bytes) -> bytes:
    array = {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}
    return msgpack.packb({"actions": array})


@pytest.mark.parametrize(
    "answer",
    [
        b"\xc1 never msgpack",
        b"",
        msgpack.packb([1, 2, 3]),
        msgpack.packb({"something": 1}),
        _raw("|O", [1], pickle.dumps(_Gadget())),
        _raw("<f4", [2, 8], b"too short"),
        _raw("<f4", [-1, 8], b""),
        _raw("<f4", [1 << 40, 1 << 40], b""),
        _raw("no dtype", [1], b"1234"),
        _raw([["a", "<f4"]], [1], b"1234"),
        _raw("<f4", [16], bytes(64)),
        _raw("<f4", [2, 3], bytes(24)),
        _raw("<f4", [0, 8], b""),
        _raw("<f8", [1, 8], np.full(8, np.nan).tobytes()),
        msgpack.packb({"actions": b"x" * 300_000}),
    ],
)
def test_garbage_is_refused_with_a_text(
    start: Callable[..., PolicyServer], answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = policy(start(lambda _: answer).port, max_mib=0.125)
    with pytest.raises(DeviceError, match="ws://"):
        remote.step(observation(), None, NOTHING)
    assert "has run" not in capsys.readouterr().out
    remote.close()


def test_garbage_greeting(start: Callable[..., PolicyServer]) -> None:
    remote = policy(start(good, greeting=b"\xc1").port)
    with pytest.raises(DeviceError, match="did not say what it is"):
        remote.step(observation(), None, NOTHING)


def test_missing_inputs_and_unknown_sources() -> None:
    remote = policy(1)
    with pytest.raises(DeviceError, match="camera 'front'"):
        remote.step(Observation(0, {}, observation().state), None, NOTHING)
    with pytest.raises(DeviceError, match="no robot state"):
        remote.step(Observation(0, observation().images), None, NOTHING)
    with pytest.raises(ConfigError, match="no source 'joints'"):
        policy(1, mapping={"observation/state": "joints"})


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 4), np.int64),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3.5),
        np.array([True, False]),
        np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8),
    ],
)
def test_codec_agrees_with_openpi_both_ways(value: np.ndarray) -> None:
    for theirs in (
        openpi.unpackb(ndarray_msgpack.pack({"a": value})),
        ndarray_msgpack.unpack(openpi.packb({"a": value}), 1 << 20),
    ):
        np.testing.assert_array_equal(theirs["a"], value)
        assert theirs["a"].dtype == value.dtype
    scalar = np.float32(1.5)
    assert openpi.unpackb(ndarray_msgpack.pack({"a": scalar}))["a"] == scalar
    assert ndarray_msgpack.unpack(openpi.packb({"a": scalar}), 1 << 10)["a"] == scalar


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.array([1j]), np.array(["a"]), {"a": object()}, {"a": {1}}]
)
def test_what_has_no_place_in_a_message_is_not_sent(value: object) -> None:
    with pytest.raises(WireError, match="cannot be sent"):
        ndarray_msgpack.pack({"value": value})
