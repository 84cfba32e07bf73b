"""Which route the next request takes: smooth weighted round robin. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.messages.streams import PlanRoute


@dataclass(slots=True)
class RouteWheel:
    """Spreads requests over routes in proportion to their weights, without bursts.

    Smooth weighted round robin as in nginx (ngx_http_upstream_round_robin): every usable route's credit grows by its
    weight, the richest is taken and pays the sum of the weights. Routes of weights 5, 1, 1 come as A A B A C A A.
    """

    _routes: tuple[PlanRoute, ...] = ()
    _credits: list[int] = field(default_factory=list)

    def turn_to(self, routes: Sequence[PlanRoute]) -> None:
        """Use these routes from now on; credits stay if they are the same routes as before."""
        if tuple(routes) != self._routes:
            self._routes = tuple(routes)
            self._credits = [0] * len(self._routes)

    def next(self, is_usable: Callable[[PlanRoute], bool]) -> PlanRoute | None:
        """Return the next route among the usable ones, none if there is none."""
        usable = [index for index, route in enumerate(self._routes) if is_usable(route)]
        if not usable:
            return None
        for index in usable:
            self._credits[index] += self._routes[index].weight
        best = max(usable, key=lambda index: self._credits[index])
        self._credits[best] -= sum(self._routes[index].weight for index in usable)
        return self._routes[best]
