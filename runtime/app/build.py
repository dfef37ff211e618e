"""From a configuration to the objects that it names: a `match`, or `module:factory` of one's own.

A factory of one's own is called with its `options`, and with those of these that it has parameters
for: runtime_dir, name, camera, cameras, joint_names, weights, host, port, threads.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tandem.runtime import actions, arm_file
from tandem.runtime.clock import NS_PER_MS, NS_PER_S
from tandem.runtime.config import S1, S2, Config
from tandem.runtime.config_cameras import Camera as CameraConfig
from tandem.runtime.config_cameras import keywords
from tandem.runtime.errors import ConfigError
from tandem.runtime.interfaces import Arm, ArmSpec, Camera, CameraSpec, S1Policy, S2Policy


def arm_model(config: Config) -> arm_file.ArmModel:
    """What the arm is, from its limits file."""
    return arm_file.load(Path(config.robot.limits.file))


def arm(config: Config) -> Arm:
    """The client of the arm. It is not connected yet."""
    given = config.robot.arm
    match given.driver:
        case "sim":
            from tandem.drivers.sim.arm import SimArm

            return SimArm(config.folder)
        case "fake":
            from tandem.drivers.fake import FakeArm

            return FakeArm(arm_model(config).spec, arm_model(config).home_q)
        case "franka_fr3" | "franka_fer":
            from tandem.drivers.franka.make import franka_arm

            spec = arm_model(config).spec
            words = {"driver": given.driver, "spec": spec, "host": given.host}
            franka: Arm = _call("robot.arm.options", franka_arm, words | given.options)
            return franka
        case "so101":
            from tandem.drivers.so101.arm import So101Arm

            arguments = {
                "spec": arm_model(config).spec,
                "port": given.host,
                "hold": given.access == "move",
            }
            client: Arm = _call("robot.arm.options", So101Arm, arguments | given.options)
            return client
    offered = {"runtime_dir": config.folder, "host": given.host, "name": config.robot.name}
    made: Arm = custom("robot.arm.driver", given.driver, offered, given.options)
    return made


def cameras(config: Config) -> list[Camera]:
    return [camera(config, name, given) for name, given in config.cameras.items()]


def camera(config: Config, name: str, given: CameraConfig) -> Camera:
    match given.driver:
        case "sim":
            from tandem.drivers.sim.camera import SimCamera

            return SimCamera(config.folder, camera_spec(name, given))
        case "realsense" | "uvc" | "video" | "folder" | "mcap":
            from tandem.drivers.cameras.make import real_camera

            spec = camera_spec(name, given)
            real: Camera = real_camera(given.driver, spec, given.latency_ms, keywords(given))
            return real
    offered = {"runtime_dir": config.folder, "name": name, "size": given.size}
    made: Camera = custom(f"cameras.{name}.driver", given.driver, offered, given.options)
    return made


def camera_spec(name: str, given: CameraConfig) -> CameraSpec:
    """What readers of this camera's ring need to know, without opening the device."""
    width, height = given.size
    if given.driver == "sim":
        from tandem.drivers.sim.camera import camera_spec as sim_spec

        spec = sim_spec(name, width, height, given.rate_hz)
    else:
        latency_ns = round(NS_PER_S / given.rate_hz)
        depth = getattr(given, "depth", False)
        spec = CameraSpec(name, height, width, given.rate_hz, latency_ns, depth)
    if given.latency_ms is not None:
        spec = replace(spec, latency_ns=round(given.latency_ms * NS_PER_MS))
    return spec


def s2_policy(given: S2, spec: ArmSpec) -> S2Policy:
    """Raises WeightsError when its weights are missing or damaged."""
    cache = given.cache
    match given.policy:
        case "sdvla":
            from tandem.policies.s2.policy import SdVla

            arguments = {
                "weights": given.weights,
                "camera": given.cameras[0],
                "strategy": cache.strategy,
                "thresholds": cache.thresholds,
                "max_age_frames": cache.max_age_frames,
                "threads": given.threads,
            }
            policy: S2Policy = _call("s2.options", SdVla.from_weights, arguments | given.options)
            return policy
        case "vla":
            from tandem.policies.vla.make import make
            from tandem.policies.vla.options import Options

            arguments = {
                "weights": given.weights,
                "cameras": given.cameras,
                "strategy": cache.strategy,
                "thresholds": cache.thresholds,
                "max_age_frames": cache.max_age_frames,
                "threads": given.threads,
                "arm": spec,
            }
            vla: S2Policy = make(_call("s2.options", Options, arguments | given.options))
            return vla
    offered = {
        "joint_names": spec.joint_names,
        "cameras": given.cameras,
        "weights": given.weights,
        "threads": given.threads,
    }
    made: S2Policy = custom("s2.policy", given.policy, offered, given.options)
    return made


def s1_policy(given: S1, spec: ArmSpec) -> S1Policy:
    """Raises WeightsError when its weights are missing or damaged."""
    policy: S1Policy
    match given.policy:
        case "chunk_mlp":
            from tandem.policies.s1.policy import ChunkPolicy

            policy = _call("s1.options", ChunkPolicy, {"weights": given.weights} | given.options)
        case "chunk_flow":
            from tandem.policies.s1.flow_policy import FlowPolicy

            policy = _call("s1.options", FlowPolicy, {"weights": given.weights} | given.options)
        case "openpi":
            from tandem.policies.s1.remote import RemotePolicy

            arguments = {
                "host": given.host,
                "port": given.port,
                "action_names": (*spec.joint_names, "gripper"),
                "open_width_m": spec.width_max_m,
                "arm": spec,
                "cameras": given.cameras,
            }
            policy = _call("s1.options", RemotePolicy, arguments | _options(given, spec))
        case _:
            offered = {
                "joint_names": spec.joint_names,
                "cameras": given.cameras,
                "weights": given.weights,
                "host": given.host,
                "port": given.port,
            }
            policy = custom("s1.policy", given.policy, offered, given.options)
    return policy


def _options(given: S1, spec: ArmSpec) -> dict[str, Any]:
    """A policy's options, its action space made of the name or the map that stands there."""
    options = dict(given.options)
    if "action" not in options:
        return options
    for replaced in ("relative", "gripper_open_at"):
        if replaced in options:
            raise ConfigError(f"s1.options: {replaced} is a part of `action` already; leave it out")
    return options | {"action": actions.named(options["action"], spec.joint_names)}


def custom(key: str, text: str, offered: dict[str, Any], options: dict[str, Any]) -> Any:
    """Call a factory of the user's own.

    Raises:
        ConfigError: there is no such built-in, module or factory, or its options do not fit.
    """
    factory = _factory(key, text)
    wanted = inspect.signature(factory).parameters
    arguments = {name: value for name, value in offered.items() if name in wanted} | options
    return _call(key, factory, arguments)


def _call(key: str, factory: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        name = factory.__qualname__
        raise ConfigError(f"{key}: {name} does not take these options: {error}") from error
    return factory(**arguments)


def _factory(key: str, text: str) -> Callable[..., Any]:
    module_name, colon, name = text.partition(":")
    if not colon:
        raise ConfigError(f"{key}: nothing built in is called {text!r}; or write module:factory")
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}: cannot load {text}: {error}") from error
    if not callable(factory):
        raise ConfigError(f"{key}: {text} is not callable")
    made: Callable[..., Any] = factory
    return made
