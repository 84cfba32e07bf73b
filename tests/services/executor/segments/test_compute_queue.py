from hypothesis import given
from hypothesis import strategies as st

from services.executor.segments.compute_queue import ComputeQueue, Ticket, discipline_called
from shared.policy import QueueDiscipline


def order(discipline: QueueDiscipline, *tickets: Ticket) -> list[int]:
    queue: ComputeQueue[int] = ComputeQueue()
    queue.discipline = discipline
    for number, ticket in enumerate(tickets):
        queue.push(number, ticket)
    return [queue.pop() for _ in tickets]


def test_first_in_first_out() -> None:
    assert order(QueueDiscipline.FIFO, Ticket("a", 9), Ticket("b", 1), Ticket("a", 5)) == [0, 1, 2]


def test_shortest_job_first_breaks_ties_by_arrival() -> None:
    assert order(
        QueueDiscipline.SHORTEST_JOB_FIRST, Ticket("a", 9), Ticket("a", 1), Ticket("a", 9), Ticket("a", 2)
    ) == [
        1,
        3,
        0,
        2,
    ]


def test_round_robin_takes_turns_between_streams() -> None:
    tickets = [Ticket("a"), Ticket("a"), Ticket("a"), Ticket("b"), Ticket("c"), Ticket("b")]
    assert order(QueueDiscipline.ROUND_ROBIN, *tickets) == [0, 3, 4, 1, 5, 2]


def test_earliest_deadline_first_leaves_those_without_for_last() -> None:
    tickets = [Ticket("a"), Ticket("a", deadline_s=5.0), Ticket("a", deadline_s=2.0)]
    assert order(QueueDiscipline.EARLIEST_DEADLINE_FIRST, *tickets) == [2, 1, 0]


def test_the_discipline_may_change_while_jobs_wait() -> None:
    queue: ComputeQueue[str] = ComputeQueue()
    queue.push("long", Ticket("a", 9))
    queue.push("short", Ticket("a", 1))
    queue.discipline = QueueDiscipline.SHORTEST_JOB_FIRST
    assert queue.pop() == "short"


def test_unknown_disciplines_are_first_in_first_out() -> None:
    assert discipline_called("of a newer version") is QueueDiscipline.FIFO
    assert discipline_called("round_robin") is QueueDiscipline.ROUND_ROBIN


@given(
    st.sampled_from(QueueDiscipline),
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 100), st.none() | st.floats(0, 100)), min_size=1, max_size=30
    ),
)
def test_every_job_comes_out_once(discipline: QueueDiscipline, jobs: list[tuple[str, float, float | None]]) -> None:
    assert sorted(order(discipline, *(Ticket(*job) for job in jobs))) == list(range(len(jobs)))


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_round_robin_never_serves_a_stream_twice_while_another_waits(streams: list[str]) -> None:
    served = [streams[number] for number in order(QueueDiscipline.ROUND_ROBIN, *(Ticket(stream) for stream in streams))]
    for position in range(1, len(served)):
        if served[position] == served[position - 1]:
            assert set(served[position:]) == {served[position]}
