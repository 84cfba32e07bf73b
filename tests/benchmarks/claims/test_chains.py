"""Block times and models of the papers' experiments."""

import pytest

from benchmarks.claims.chains import by_flops, chain, layers


def test_times_are_in_proportion_to_the_work() -> None:
    blocks = layers("alexnet")
    times_ms = by_flops(blocks, 100.0)
    assert sum(times_ms) == pytest.approx(100.0)
    rates = {round(time_ms / block.flops, 15) for time_ms, block in zip(times_ms, blocks, strict=True) if block.flops}
    assert len(rates) == 1


def test_shares_divide_the_whole_time_among_kinds_of_layers() -> None:
    blocks = layers("alexnet")
    times_ms = by_flops(blocks, 100.0, {"conv": 0.7, "fc": 0.3})
    for prefix, share in (("conv", 70.0), ("fc", 30.0), ("pool", 0.0)):
        own = [time_ms for time_ms, block in zip(times_ms, blocks, strict=True) if block.name.startswith(prefix)]
        assert sum(own) == pytest.approx(share)


def test_a_model_has_the_outputs_of_its_layers() -> None:
    blocks = layers("alexnet")
    model = chain(blocks)
    assert [block.output_bytes for block in model.blocks] == [block.output_bytes for block in blocks]
    assert model.input_bytes == 224 * 224 * 3 * 4
