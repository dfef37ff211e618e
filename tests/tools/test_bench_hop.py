"""The conditioning hop: its arithmetic with invented stamps, and a short real run."""

import numpy as np
import pytest
from tandem.runtime import messages
from tandem.runtime.messages import Conditioning
from tandem.tools.bench import bars, hop, hop_ends


def test_latency_is_matched_by_sequence_and_warm_up_is_left_out():
    sent = np.array([(seq, 1000 * seq, 1000 * seq + 10) for seq in range(15)])
    received = np.array([(seq, 1000 * seq + 100, 1000 * seq + 90) for seq in (3, 11, 14, 99)])
    assert hop.latencies_ns(sent, received).tolist() == [[100, 80], [100, 80]]
    assert hop.latencies_ns(sent, received[:0]).shape == (0, 2)


def test_ratios_are_of_equal_quantiles():
    ours, theirs = {"p50": 30.0, "p99": None}, {"p50": 20.0, "p99": 50.0}
    assert hop.ratio(ours, theirs) == {"p50": 1.5, "p99": None}


def test_the_message_is_a_valid_conditioning_of_the_asked_size():
    data = messages.encode(hop_ends.message(7, 16, 512))
    back = messages.decode(Conditioning, data)
    assert back.seq == 7
    assert back.valid
    assert back.latent.shape == (16, 512)
    assert 16 * 512 * 2 < len(data) < 16 * 512 * 2 + 1000


@pytest.mark.process
def test_a_short_run_measures_every_way():
    for start_up_s in (3.5, 10.0, 20.0):  # until the ends are there, on a crowded machine too
        settings = hop.Settings(repeats=1, seconds=1.0, rate_hz=25.0, start_up_s=start_up_s)
        result = hop.measure(settings, lambda text: None)
        if all(latency["p50"] for latency in result["latency_us"].values()):
            break
    for way in hop_ends.WAYS:
        whole, alone = result["latency_us"][way], result["bytes_us"][way]
        assert 0 < alone["p50"] <= whole["p50"]
        assert result["lost"][way] < 30
    assert result["ratio"]["p50"] > 0
    assert result["ratio_bytes"]["p50"] <= result["ratio"]["p50"]
    assert len(bars.hop(result)) == len(result["bars"]) == 2
    assert hop.table(result).row_count == len(hop_ends.WAYS)
