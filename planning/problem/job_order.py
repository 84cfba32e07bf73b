"""Starting order of the jobs of several streams."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from planning.problem.plan import StreamPlan


def start_places(plans: Mapping[str, StreamPlan], turns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return the rank of each stream's jobs, in their own order, among the jobs of all streams.

    The jobs that ``turns`` names come first, in that order. The others take turns, one of each stream at a time. Of two
    jobs with the same rank, that of the stream which stands first in ``plans`` starts first.

    Args:
        plans: the routes of every stream.
        turns: stream names in the order in which their jobs start; see `Plan.turns`.

    Returns:
        [jobs] per stream; the ranks of one stream ascend.
    """
    named: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(turns):
        named[name].append(place)
    places: dict[str, NDArray[np.int64]] = {}
    for name, plan in plans.items():
        own = np.array(named[name][: len(plan.order)], dtype=np.int64)
        places[name] = np.concatenate([own, len(turns) + np.arange(len(own), len(plan.order))])
    return places
