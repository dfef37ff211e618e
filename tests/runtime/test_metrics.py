"""Prometheus over a real socket: true names and figures, and a loop that scrapes never delay."""

import asyncio
import json
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tandem.runtime import exposition, metrics, metrics_server
from tandem.runtime.errors import ConfigError
from tandem.runtime.histogram import Histogram
from tandem.runtime.messages import Conditioning, Event, RobotState, Tick
from tandem.runtime.metrics import BOUNDS_NS, ChildNumbers, take
from tandem.runtime.metrics_server import MetricsServer
from tandem.runtime.summary import Summary

MS = 1_000_000
DASHBOARD = Path(exposition.__file__).parent.parent / "tools" / "grafana" / "tandem.json"


def tick(seq: int, source: str = "executor", **more: object) -> Tick:
    given = {
        "rate_hz": 200.0,
        "lateness_ns": np.array([30_000, 700_000]),
        "work_ns": np.array([150_000, 150_000]),
        "missed": 3,
        "counters": {"chunks_joined": 5, "entered_fault": 1, "underruns": 2},
        "gauges": {"seam_sent_q_rad": 0.002},
        "samples_ns": {"camera_command": np.array([90 * MS]), "send": np.array([100_000])},
    }
    return Tick(source=source, seq=seq, t_ns=seq * 100 * MS, valid=True, **{**given, **more})


def state(mode: str = "policy") -> RobotState:
    seven = np.zeros(7)
    arrays = dict.fromkeys(("q", "dq", "tau", "q_cmd", "dq_cmd", "ddq_cmd"), seven)
    return RobotState(
        gripper_cmd=1.0, width_m=0.08, mode=mode, epoch=1, pace=0.5, t_ns=10**9, **arrays
    )


def conditioning() -> Conditioning:
    return Conditioning(
        latent=np.zeros((1, 1), np.float16),
        latent_id="x",
        instruction_id=1,
        t_ns=10**9,
        t_capture_ns=10**9 - 70 * MS,
        frame_seq=1,
        version=[1, 1],
        age_frames=[3, 1],
        gate=[0.1, 0.7],
        refreshed=[False, True],
        macs=30,
        macs_full=100,
    )


def heard() -> Summary:
    summary = Summary()
    s2 = {"counters": {"refresh L1": 2, "refresh L2": 7, "same frame": 1}, "samples_ns": {}}
    for message in (
        tick(1),
        tick(2),
        tick(1, "s2", **s2),
        state(),
        conditioning(),
        Event(source="s2", level="info", kind="refresh", text="refreshed"),
    ):
        summary.fold(10**9, message)
    return summary


def samples(text: str) -> dict[tuple[str, ...], float]:
    """(name, label values in the order of their names) → value, as Prometheus' parser reads it."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            assert isinstance(one, Sample)
            found[one.name, *(value for _, value in sorted(one.labels.items()))] = one.value
    return found


def numbers() -> metrics.Numbers:
    children = [ChildNumbers("s2", os.getpid(), True, 3), ChildNumbers("s1", None, False, 1)]
    return take(heard(), children, 10**9 + 30 * MS, "cell_a")


def made() -> Iterator[object]:
    return exposition.families(numbers(), os.getpid())


def get(port: int, path: str = "/metrics", accept: str = "text/plain") -> str:
    question = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    with urllib.request.urlopen(question, timeout=5) as answer:
        return answer.read().decode()


def scraped(path: str = "/metrics") -> str:
    async def story() -> str:
        server = MetricsServer(0, lambda: made)
        try:
            return await asyncio.to_thread(get, server.port, path)
        finally:
            await server.close()

    return asyncio.run(story())


def test_every_figure_of_the_summary_is_told() -> None:
    told = samples(scraped())
    assert told["tandem_info", "cell_a"] == 1
    assert told["tandem_loop_lateness_seconds_count", "executor"] == 4
    assert told["tandem_loop_lateness_seconds_bucket", "5e-05", "executor"] == 2
    assert told["tandem_loop_lateness_seconds_bucket", "0.001", "executor"] == 4
    assert told["tandem_loop_lateness_seconds_sum", "executor"] == pytest.approx(1.46e-3)
    assert told["tandem_loop_lateness_max_seconds", "executor"] == pytest.approx(7e-4)
    assert told["tandem_loop_work_seconds_count", "executor"] == 4
    assert told["tandem_stage_seconds_bucket", "0.1", "executor", "camera_command"] == 2
    assert told["tandem_stage_seconds_bucket", "0.05", "executor", "camera_command"] == 0
    assert told["tandem_stage_seconds_count", "executor", "send"] == 2
    assert told["tandem_loop_missed_ticks_total", "executor"] == 3
    assert told["tandem_chunks_total", "joined"] == 5
    assert told["tandem_cache_refreshes_total", "L2"] == 7
    assert told["tandem_faults_total",] == 1
    assert told["tandem_loop_counts_total", "executor", "underruns"] == 2
    assert told["tandem_loop_counts_total", "s2", "same_frame"] == 1
    assert told["tandem_loop_gauge", "executor", "seam_sent_q_rad"] == 0.002
    assert told["tandem_events_total", "refresh", "s2"] == 1
    assert told["tandem_mode", "policy"] == 1
    assert sum(v for key, v in told.items() if key[0] == "tandem_mode") == 1
    assert told["tandem_pace_ratio",] == 0.5
    assert told["tandem_conditioning_age_seconds",] == pytest.approx(0.1)
    assert told["tandem_cache_saved_ratio",] == pytest.approx(0.7)
    assert told["tandem_trunk_multiply_adds_total",] == 30
    assert told["tandem_cache_gate_ratio", "L2"] == 0.7
    assert told["tandem_process_restarts_total", "s2"] == 2
    assert (told["tandem_process_up", "s2"], told["tandem_process_up", "s1"]) == (1, 0)
    assert told["tandem_process_resident_memory_bytes", "supervisor"] > 1 << 20
    assert ("tandem_process_resident_memory_bytes", "s1") not in told


def test_before_anything_was_heard_there_is_an_answer_too() -> None:
    empty = list(exposition.families(take(Summary(), (), 0), os.getpid()))
    names = {family.name for family in empty if family.samples}
    assert {"tandem_mode", "tandem_process_up"} <= names
    assert "tandem_conditioning_age_seconds" not in names


def test_names_are_as_prometheus_wants_them() -> None:
    """Base units last, totals for counters only, and nothing told twice."""
    families = list(made())
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"tandem(_[a-z0-9]+)*", family.name)
        assert not re.search(r"_(ms|us|ns|kib|mib)\b", family.name)
        assert family.documentation
        for label in {name for one in family.samples for name in one.labels}:
            assert re.fullmatch(r"[a-z]+", label)


@given(st.lists(st.integers(0, 3_000 * MS), min_size=1, max_size=200))
def test_buckets_only_rise_and_end_at_all_values(values: list[int]) -> None:
    histogram = Histogram()
    histogram.record(values)
    within = histogram.within(BOUNDS_NS)
    assert within == sorted(within)
    assert within[-1] <= histogram.n
    for bound, count in zip(BOUNDS_NS, within, strict=True):
        assert sum(v <= bound for v in values) <= count
        assert count <= sum(v <= bound * (1 + 1 / 128) + 1 for v in values)


def test_every_metric_of_the_dashboard_exists() -> None:
    exported = {one.name for family in made() for one in family.samples}
    dashboard = json.loads(DASHBOARD.read_text())
    questions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]
    asked = {name for text in questions for name in re.findall(r"\btandem_\w+", text)}
    assert len(questions) > 15
    assert asked <= exported
    for figure in ("lateness", "work", "stage", "missed", "conditioning_age", "saved", "mode"):
        assert any(figure in name for name in asked), figure


def test_a_port_in_use_is_told_with_what_to_do() -> None:
    async def story() -> None:
        other = socket.create_server(("127.0.0.1", 0))
        with other, pytest.raises(ConfigError, match="choose another port"):
            await metrics_server.serve(other.getsockname()[1], "cell_a", Summary(), [])

    asyncio.run(story())


def test_it_listens_on_this_machine_only_and_knows_one_page() -> None:
    async def story() -> None:
        server = MetricsServer(0, lambda: made)
        try:
            assert server._server.server_address[0] == "127.0.0.1"
            with pytest.raises(urllib.error.HTTPError, match="404") as refusal:
                await asyncio.to_thread(get, server.port, "/etc/passwd")
            refusal.value.close()
        finally:
            await server.close()

    asyncio.run(story())


def test_openmetrics_is_spoken_to_those_who_ask() -> None:
    async def story() -> str:
        server = MetricsServer(0, lambda: made)
        try:
            kind = "application/openmetrics-text; version=1.0.0"
            return await asyncio.to_thread(get, server.port, "/metrics", kind)
        finally:
            await server.close()

    assert asyncio.run(story()).endswith("# EOF\n")


def test_a_client_that_says_nothing_is_hung_up_on() -> None:
    async def story() -> str:
        server = MetricsServer(0, lambda: made)
        try:
            with socket.create_connection(("127.0.0.1", server.port)):
                return await asyncio.to_thread(get, server.port)
        finally:
            await server.close()

    assert "tandem_mode" in asyncio.run(story())


def test_a_flood_of_scrapes_is_answered_from_one_picture() -> None:
    taken = []

    async def story() -> None:
        server = MetricsServer(0, lambda: taken.append(1) or made)
        try:
            end_s = time.monotonic() + 1.0
            while time.monotonic() < end_s:
                await asyncio.to_thread(get, server.port)
        finally:
            await server.close()

    asyncio.run(story())
    assert 1 <= len(taken) <= 4


def test_the_loop_only_takes_the_numbers_and_another_thread_writes_them() -> None:
    """Numbers are copied in the loop, where they change; the text of a page must not hold it up."""
    summary, wrote_in, took_in = full(), [], []

    def collect() -> Callable[[], Iterator[Metric]]:
        took_in.append(threading.current_thread())
        numbers = take(summary, (), 10**9)

        def families() -> Iterator[Metric]:
            for family in exposition.families(numbers, os.getpid()):
                wrote_in.append(threading.current_thread())
                yield family

        return families

    async def story() -> str:
        server = MetricsServer(0, collect)
        try:
            return await asyncio.to_thread(get, server.port)
        finally:
            await server.close()

    assert "loop7" in asyncio.run(story())
    assert took_in == [threading.current_thread()]
    assert len(wrote_in) > 5
    assert threading.current_thread() not in wrote_in


def full() -> Summary:
    """Eight loops with twelve stages each: more than a robot has."""
    summary = Summary()
    for loop in range(8):
        spread = {f"stage {k}": np.arange(1, 900) * 10_000 for k in range(12)}
        for seq in range(3):
            summary.fold(10**9, tick(seq + 1, f"loop{loop}", samples_ns=spread))
    return summary
