import numpy as np

from benchmarks.network_traces import MEANS_MBPS, TraceSettings, bandwidths_mbps, latencies_ms


def test_means_shift_at_20_and_40_minutes() -> None:
    trace = bandwidths_mbps(0)
    assert trace.shape == (3600, 4)
    assert trace.min() >= 5
    assert trace.max() <= 300
    for place, part in enumerate(np.array_split(trace, 3)):
        order = np.argsort(part.mean(axis=0))
        assert order[-1] == int(np.argmax(MEANS_MBPS[place]))
    assert (bandwidths_mbps(0) == trace).all()


def test_methods_answer_for_every_image() -> None:
    found = latencies_ms(TraceSettings(every_s=1700.0, episodes=1, tuning=1))
    assert {"coedge", "aofl", "distredge"} <= found.keys()
    assert all(len(values) == 2 and min(values) > 0 for values in found.values())
