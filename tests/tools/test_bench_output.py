"""What is promised, judged and written: bars, documents, options."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tandem.runtime.clock import NS_PER_S
from tandem.runtime.errors import TandemError
from tandem.tools.bench import bars, jitter, machine, main, memory, output
from tandem.tools.bench.bars import Bar
from tandem.tools.bench.jitter_table import tables
from tandem.tools.output import STDOUT

SUMMARY = {"p50": 10.0, "p99": 20.0, "p999": 30.0, "max": 40.0}


def _run(**changes) -> dict:
    return {
        "ticks": 1000,
        "effective_hz": 200.0,
        "missed": 0,
        "unexplained": 0,
        "wake_us": SUMMARY,
        "send_us": SUMMARY,
        "wake_us_outside_stalls": SUMMARY,
        "drift_us": 0.5,
        "cpu_share": 0.05,
        "stalls": 1,
        "stall_share": 0.01,
        "probe_us": SUMMARY,
        **changes,
    }


def _case(**changes) -> dict:
    cross = [{"wake_us": SUMMARY}]
    by_who = {"tandem": [_run(**changes)] * 3, "time_sleep": [_run()] * 3, "cyclictest": cross}
    return jitter.summarise(("idle", 200.0), by_who)


def _failed(case: dict) -> list[str]:
    return [bar.name for bar in bars.jitter([case]) if not bar.met]


def test_a_good_case_meets_every_bar_and_names_everyone():
    case = _case()
    assert _failed(case) == []
    assert len(bars.jitter([case])) == 5
    for who in ("probe", "time_sleep", "cyclictest"):
        assert case[who]["wake_us"]["p99"] == 20.0


@pytest.mark.parametrize(
    ("changes", "bar"),
    [
        ({"unexplained": 1}, "unexplained"),
        ({"drift_us": -5000.0}, "drift µs"),
        ({"wake_us_outside_stalls": {**SUMMARY, "max": 501.0}}, "wake max µs outside stalls"),
        ({"send_us": {**SUMMARY, "p99": 501.0}}, "send p99 µs"),
        ({"send_us": dict.fromkeys(SUMMARY)}, "send p99 µs"),
        ({"cpu_share": 0.11}, "cpu share"),
    ],
)
def test_each_promise_is_judged_by_itself(changes, bar):
    assert _failed(_case(**changes)) == [bar]


def test_a_thousand_hertz_has_its_own_limit_and_none_on_the_core():
    case = jitter.summarise(("s2", 1000.0), {"tandem": [_run(cpu_share=0.5)]})
    assert _failed(case) == []
    case["send_us"] = {**SUMMARY, "p99": 201.0}
    assert _failed(case) == ["send p99 µs"]


def test_a_figure_that_is_missing_is_a_promise_not_kept():
    assert not Bar("a", "b", None, 1.0).met
    assert Bar("a", "b", 1.0, 1.0).met


def test_the_document_says_where_it_comes_from_and_survives_the_disk(tmp_path: Path):
    result = output.document("jitter", 3, {"cases": [_case()]}, bars.jitter([_case()]))
    output.write(result, str(tmp_path / "jitter.json"))
    read = json.loads((tmp_path / "jitter.json").read_text())
    assert read["met"] is True
    assert {"kernel", "cores", "governor", "fifo_granted", "revision"} <= set(read["machine"])
    assert read["cases"][0]["wake_us"] == SUMMARY
    assert read["machine"]["revision"] in output.headline(read)
    assert tables(read)[0].row_count == 4


def test_json_without_a_file_owns_stdout(capsys):
    output.write({"a": 1.23456}, STDOUT)
    output.console(STDOUT).print("for people")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1.235}
    assert "for people" in captured.err


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["--json"], ["--json", "-"]),
        (["--json", "--check"], ["--json", "-", "--check"]),
        (["--json", "out.json", "--check"], ["--json", "out.json", "--check"]),
        (["--json", "-"], ["--json", "-"]),
        (["--seconds", "2"], ["--seconds", "2"]),
    ],
)
def test_json_takes_a_file_or_none(given, understood):
    assert main.with_stdout(given) == understood


def test_an_unknown_load_is_refused_before_anything_runs():
    with pytest.raises(TandemError, match="no load is called 'full'"):
        jitter.measure(jitter.Settings(loads=("full",)), print)


def test_machine_facts_are_facts():
    facts = machine.facts()
    assert facts["cores"] >= 1
    assert json.dumps(facts)
    assert machine.steal_s() >= 0.0
    assert machine.cpu_time_ns(1 << 30) == 0


ROLLUP = """55e0-7ffc ---p 00000000 00:00 0    [rollup]
Rss:               52304 kB
Pss:               30000 kB
Pss_Anon:          20000 kB
Private_Dirty:     21000 kB
Locked:            52304 kB
"""


def test_memory_of_a_process_is_read_in_kib():
    found = memory.parse_rollup(ROLLUP)
    assert found == {"rss_kib": 52304.0, "pss_anon_kib": 20000.0, "private_dirty_kib": 21000.0}
    with pytest.raises(TandemError, match="cannot be read"):
        memory.resident_kib(1 << 30)


@given(st.floats(0, 1e5))
def test_growth_after_the_warm_up_is_found_and_growth_before_it_is_not(per_hour):
    samples = []
    for i in range(101):
        grown_kib = 50_000 + per_hour * i / 3600 + (0 if i >= 20 else (i - 20) * 100)
        samples.append({"t_ns": i * NS_PER_S, "rss_kib": grown_kib})
    result = memory.analyse(samples)
    assert result["rss"]["growth_kib_per_hour"] == pytest.approx(per_hour, rel=1e-3, abs=1e-2)
    assert result["pss_anon"] is None
    assert memory.table(result).row_count == 4
    if abs(per_hour - bars.GROWTH_KIB_PER_HOUR) > 1:
        assert bars.memory(result)[0].met == (per_hour < bars.GROWTH_KIB_PER_HOUR)
