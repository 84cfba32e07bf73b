import random

import pytest

from shared.plan.engine import Job, Rules, run
from shared.plan.pipeline import Operation, Work, completion_times_ms


def test_first_come_first_served_equals_the_fast_path() -> None:
    rng = random.Random(5)
    for _ in range(100):
        jobs = [
            tuple(
                Operation(rng.choice(list(Work)), rng.choice("abc"), rng.choice([0.0, rng.uniform(0, 5)]), stage, "z")
                for stage in range(rng.randint(0, 5))
            )
            for _ in range(rng.randint(1, 6))
        ]
        assert run([Job(job) for job in jobs], Rules()).end_ms == pytest.approx(completion_times_ms(jobs))


def test_spans_do_not_overlap_and_cover_the_work() -> None:
    job = Job((Operation(Work.COMPUTE, "a", 2.0, 0), Operation(Work.SEND, "a", 3.0, 0, "b")))
    found = run([job, job], Rules())
    assert [(span.job, span.operation, span.start_ms, span.end_ms) for span in found.spans] == [
        (0, 0, 0, 2),
        (1, 0, 2, 4),
        (0, 1, 2, 5),
        (1, 1, 5, 8),
    ]
    assert found.steps[1] == ((0, 4), (4, 8))


def test_release_times() -> None:
    job = (Operation(Work.COMPUTE, "a", 2.0, 0),)
    assert run([Job(job, 5.0), Job(job, 1.0)], Rules()).end_ms == (7.0, 3.0)


def test_nothing_to_do() -> None:
    assert run([], Rules()).end_ms == ()
    assert run([Job((), 3.0)], Rules()).end_ms == (3.0,)
