"""Every setting spoiled, one at a time: the doctor finds it, says why it matters, and the cure."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tandem.tools.doctor import (
    cameras,
    cell,
    checks,
    daemons,
    finding,
    installation,
    measured,
    network,
)
from tandem.tools.doctor.finding import Finding
from tandem.tools.doctor.machine import Machine
from tandem.tools.doctor.probes import Tried

GIB = 1 << 30
GOOD = Machine(
    cores=8,
    preempt_rt=True,
    kernel="6.1.0-rt",
    granted={"scheduling": "FIFO 80", "memory": "locked", "deep sleep of the CPU": "off"},
    timer_slack_ns=1,
    governors=("performance",),
    isolated="3",
    deepest_sleep_us=200,
    huge_pages="madvise",
    clock_source="tsc",
    shm_free_bytes=8 * GIB,
    shm_kind="tmpfs",
    memory_free_bytes=8 * GIB,
)
SPOILED: list[tuple[str, dict[str, Any], str, str]] = [
    # check, what is spoiled, verdict, a word of the cure
    (
        "real time",
        {"refused": {"scheduling": "Operation not permitted; echo rtprio 99 > limits"}},
        "wrong",
        "rtprio",
    ),
    (
        "locked memory",
        {"refused": {"memory": "Cannot allocate memory; echo memlock unlimited > limits"}},
        "wrong",
        "memlock",
    ),
    ("real-time share", {"rt_runtime_us": 500_000}, "advice", "sched_rt_runtime_us"),
    ("timer slack", {"timer_slack_ns": 50_000}, "advice", "TIMERSLACK"),
    (
        "deep sleep of the CPU",
        {"refused": {"deep sleep of the CPU": "Permission denied; sudo chmod o+rw it"}},
        "wrong",
        "chmod",
    ),
    ("kernel", {"preempt_rt": False}, "advice", "linux-image-rt"),
    ("CPU governor", {"governors": ("performance", "powersave")}, "advice", "cpupower"),
    ("cores", {"cores": 1}, "wrong", "two cores"),
    ("isolated cores", {"isolated": ""}, "advice", "isolcpus"),
    ("transparent huge pages", {"huge_pages": "always"}, "advice", "madvise"),
    ("swap", {"swap_used_bytes": GIB}, "advice", "swapoff"),
    ("memory", {"memory_free_bytes": GIB}, "advice", "rss"),
    ("clock source", {"clock_source": "hpet"}, "wrong", "tsc"),
    ("/dev/shm", {"shm_kind": ""}, "wrong", "mount -t tmpfs"),
    ("/dev/shm", {"shm_kind": "ext4"}, "wrong", "mount -t tmpfs"),
    ("/dev/shm", {"shm_free_bytes": 64 << 20}, "wrong", "--shm-size"),
]


def test_a_good_machine_is_told_so() -> None:
    found = checks.all_of(GOOD)
    assert {f.verdict for f in found} == {"ok"}
    assert len({f.name for f in found}) == len(found)


@pytest.mark.parametrize(("name", "spoiled", "verdict", "cure"), SPOILED)
def test_each_spoiled_setting_is_found_and_nothing_else(
    name: str, spoiled: dict[str, Any], verdict: str, cure: str
) -> None:
    sick = [f for f in checks.all_of(replace(GOOD, **spoiled)) if f.verdict != "ok"]
    assert [f.name for f in sick] == [name]
    check(sick[0], verdict, cure)


def test_every_fact_can_be_spoiled() -> None:
    """A fact that no check looks at is not worth reading; a new one wants its row above."""
    spoiled = {key for _, facts, _, _ in SPOILED for key in facts}
    told_only = {"kernel", "granted", "deepest_sleep_us"}
    assert spoiled | told_only == {field.name for field in fields(Machine)}


def test_a_core_that_never_sleeps_deeply_makes_the_refusal_harmless() -> None:
    refused = {"deep sleep of the CPU": "No such file or directory; nothing helps"}
    found = checks.deep_sleep(replace(GOOD, refused=refused, deepest_sleep_us=0))
    check(found, "advice", "nothing helps")


def check(found: Finding, verdict: str, cure: str) -> None:
    assert found.verdict == verdict
    assert cure in found.fix
    assert found.found
    assert found.why


# -- installation ----------------------------------------------------------------------------------


def test_a_missing_package_is_wrong_and_another_version_is_told() -> None:
    facts = installation.Packages(("numpy", "torch"), {"numpy": "2.4.6"}, {"numpy": "2.4.6"})
    found = installation.versions(facts)
    check(found, "wrong", "pip install")
    assert "torch" in found.found
    facts = replace(facts, installed={"numpy": "2.0.0", "torch": "2.13.0+cpu"})
    found = installation.versions(replace(facts, pinned={"numpy": "2.4.6", "torch": "2.13.0"}))
    check(found, "advice", "constraints.txt")
    assert "numpy 2.0.0 (2.4.6)" in found.found
    assert "torch" not in found.found


def test_rendering_that_fails_crashes_or_is_black() -> None:
    assert installation.pictures(Tried(["egl", 130])).verdict == "ok"
    check(installation.pictures(Tried(failed="crashed by SIGSEGV")), "wrong", "libosmesa6")
    check(installation.pictures(Tried(["egl", 0])), "wrong", "osmesa")


def test_inference_that_passes_a_gpu_over() -> None:
    cpu = Tried("CPUExecutionProvider")
    assert installation.inference(cpu, has_gpu=False).verdict == "ok"
    check(installation.inference(cpu, has_gpu=True), "advice", "onnxruntime-gpu")
    assert installation.inference(Tried("CUDAExecutionProvider"), has_gpu=True).verdict == "ok"
    check(installation.inference(Tried(failed="damaged"), has_gpu=False), "wrong", "weights")


# -- the robot -------------------------------------------------------------------------------------


def test_a_configuration_with_a_mistake_is_quoted(tmp_path: Path) -> None:
    file = tmp_path / "cell.yaml"
    file.write_text("schema: 1\nrobott: {}\n")
    found, settings = cell.configuration(str(file))
    check(found, "wrong", "correct")
    assert "did you mean robot?" in found.found
    assert settings is None
    assert cell.configuration("fake")[0].verdict == "ok"


def test_weights_that_are_missing_or_do_not_belong_together() -> None:
    both = {
        "s2": cell.Weights(Path("/w/a"), (), "id1"),
        "s1": cell.Weights(Path("/w/b"), (), "id1"),
    }
    assert cell.minds(both).verdict == "ok"
    assert cell.minds({}).verdict == "ok"
    strange = both | {"s1": cell.Weights(Path("/w/b"), (), "id2")}
    found = cell.minds(strange)
    check(found, "wrong", "tandem train")
    assert "id2" in found.found
    found = cell.minds(both | {"s2": cell.Weights(Path("/w/a"), ("a.safetensors",))})
    check(found, "wrong", "tandem train")
    assert "/w/a.safetensors" in found.found


def test_a_disk_that_is_full_filling_or_not_ours() -> None:
    good = cell.Disk(Path("/d"), 100 * GIB, 50 * GIB)
    assert cell.room(good).verdict == "ok"
    check(cell.room(replace(good, free_bytes=10 * GIB)), "advice", "record.max_gib")
    check(cell.room(replace(good, free_bytes=GIB // 2)), "wrong", "record.path")
    check(cell.room(replace(good, writable=False)), "wrong", "record.path")


# -- daemons ---------------------------------------------------------------------------------------

BASE = daemons.Base(Path("/dev/shm/tandem-1"), 0o700, 1, 1)
PARTS = {
    "executor": {"state": "ready", "facts": {"scheduling": "FIFO 80"}},
    "s1": {"state": "ready", "facts": {}},
}
STATUS = {"mode": "hold", "fault": None, "children": PARTS}


def test_a_runtime_folder_of_others_or_open_to_them() -> None:
    assert daemons.runtime_folder(BASE).verdict == "ok"
    assert daemons.runtime_folder(replace(BASE, mode=0)).verdict == "ok"
    assert daemons.runtime_folder(replace(BASE, owner=9, mode=0o770, shared=True)).verdict == "ok"
    check(daemons.runtime_folder(replace(BASE, owner=9)), "wrong", "TANDEM_RUNTIME_DIR")
    check(daemons.runtime_folder(replace(BASE, mode=0o777)), "wrong", "chmod 700")


def test_what_a_killed_daemon_left() -> None:
    assert daemons.leftovers(BASE).verdict == "ok"
    check(daemons.leftovers(replace(BASE, stale=("cell_a",))), "advice", "tandem-1/cell_a")


def test_a_daemon_that_is_silent_incomplete_faulted_or_refused_real_time() -> None:
    good = daemons.Running("cell_a", 7, STATUS)
    assert daemons.health(good).verdict == "ok"
    check(daemons.health(replace(good, status=None)), "wrong", "kill 7")
    dead = {**STATUS, "children": PARTS | {"s1": {"state": "dead", "facts": {}}}}
    check(daemons.health(replace(good, status=dead)), "wrong", "s1.log")
    fault = {**STATUS, "fault": "the arm is in reflex"}
    check(daemons.health(replace(good, status=fault)), "wrong", "tandem reset")
    facts = {"scheduling": "refused: Operation not permitted; do this"}
    refused = {**STATUS, "children": {"executor": {"state": "ready", "facts": facts}}}
    found = daemons.health(replace(good, status=refused))
    check(found, "wrong", "start it again")
    assert "executor: scheduling refused" in found.found


# -- network, cameras, what is measured ------------------------------------------------------------


def test_a_way_that_is_slow_lossy_wireless_or_not_there() -> None:
    good = network.Way("172.16.0.2", "eth1", 1500, False, 100, tuple([0.2] * 100))
    assert network.way(good, 0.5).verdict == "ok"
    slow = replace(good, rtt_ms=tuple([0.2] * 97 + [3.0] * 3))
    check(network.way(slow, 0.5), "wrong", "cable")
    check(network.way(replace(good, rtt_ms=good.rtt_ms[:98]), 0.5), "wrong", "cable")
    check(network.way(replace(good, wireless=True), 0.5), "wrong", "cable")
    check(network.way(replace(good, mtu=576), 0.5), "advice", "mtu 1500")
    check(network.way(replace(good, rtt_ms=()), 0.5), "wrong", "ping")
    check(network.way(network.Way("x", problem="has no address"), 0.5), "wrong", "host")
    check(network.way(network.Way("x", unmeasured="no ping"), 0.5), "advice", "iputils")


def test_a_camera_that_is_locked_or_on_a_slow_socket() -> None:
    good = cameras.Video("/dev/video0", "Intel RealSense D435", True, 5000)
    assert cameras.video(good).verdict == "ok"
    check(cameras.video(replace(good, usable=False)), "wrong", "video")
    check(cameras.video(replace(good, usb_mbit_s=480)), "advice", "USB 3")
    assert cameras.video(replace(good, name="Webcam", usb_mbit_s=480)).verdict == "ok"
    (found,) = cameras.found_realsense(Tried([["D435", "0123", "3.2", ["640x480 at 30 Hz"]]]))
    assert found.verdict == "ok"
    assert found.found.startswith("D435, serial 0123, USB 3.2\n  640x480 at 30 Hz\n  front: {")
    offering = replace(good, name="Webcam", offers=("MJPG 640x480",), stable="/dev/v4l/by-id/web")
    assert "wrist: {driver: uvc, device: /dev/v4l/by-id/web" in cameras.video(offering).found
    check(cameras.found_realsense(Tried([["D435", "0123", "2.1", []]]))[0], "advice", "USB 3")
    check(cameras.found_realsense(Tried(failed="no libusb"))[0], "advice", "libusb")


def test_wake_ups_and_disks_that_are_slow() -> None:
    us = 1000
    good = [30_000, 20 * us, 80 * us, 100 * us, 400 * us]
    assert measured.lateness(Tried(good), 30).verdict == "ok"
    check(measured.lateness(Tried([*good[:4], 9000 * us]), 30), "advice", "PREEMPT_RT")
    late = [30_000, 20 * us, 900 * us, 2000 * us, 9000 * us]
    check(measured.lateness(Tried(late), 30), "wrong", "bench jitter")
    check(measured.lateness(Tried(failed="killed"), 30), "wrong", "again")
    assert measured.disk_speed(500).verdict == "ok"
    check(measured.disk_speed(3), "wrong", "record.path")


def test_advice_is_no_failure_and_one_wrong_thing_is() -> None:
    fine, better = finding.ok("a", "b"), finding.advice("a", "b", "c", "d")
    assert finding.is_healthy([fine, better])
    assert not finding.is_healthy([fine, better, finding.wrong("a", "b", "c", "d")])
    assert finding.summary([fine, better]) == "2 checks: 0 wrong, 1 could be better, 1 ok"
