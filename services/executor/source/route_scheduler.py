"""Which route the next request takes: smooth weighted round robin, or a burst's own order. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.messages.streams import PlanRoute


@dataclass(slots=True)
class RouteScheduler:
    """Spreads requests over routes in proportion to their weights, without bursts.

    Smooth weighted round robin as in nginx (ngx_http_upstream_round_robin): every usable route's credit grows by its
    weight, the richest is taken and pays the sum of the weights. Routes of weights 5, 1, 1 come as A A B A C A A.

    In order, routes are those of a burst: the first `weight` requests take the first, and so on; after the last it
    begins anew. A burst that goes on while its routes change goes on at the same place.
    """

    _routes: tuple[PlanRoute, ...] = ()
    _credits: list[int] = field(default_factory=list)
    _in_order: bool = False
    _place: int = 0

    def turn_to(self, routes: Sequence[PlanRoute], *, in_order: bool = False) -> None:
        """Use these routes from now on; credits stay if they are the same routes as before."""
        self._in_order = in_order
        if tuple(routes) != self._routes:
            self._routes = tuple(routes)
            self._credits = [0] * len(self._routes)

    def begin(self) -> None:
        """The next request is the first of a burst."""
        self._place = 0

    def next(self, is_usable: Callable[[PlanRoute], bool], *, again: bool = False) -> PlanRoute | None:
        """Return the route of the next request, none if no route is usable.

        Args:
            is_usable: says whether a route can be taken.
            again: the request is tried again; it has had its place in the burst.
        """
        if self._in_order and not again and self._routes:
            route = self._route_at(self._place)
            if is_usable(route):
                self._place += 1
                return route
        spread = self._spread(is_usable)
        if spread is not None and not again:
            self._place += 1
        return spread

    def _route_at(self, place: int) -> PlanRoute:
        left = place % sum(route.weight for route in self._routes)
        for route in self._routes:
            left -= route.weight
            if left < 0:
                break
        return route

    def _spread(self, is_usable: Callable[[PlanRoute], bool]) -> PlanRoute | None:
        usable = [index for index, route in enumerate(self._routes) if is_usable(route)]
        if not usable:
            return None
        for index in usable:
            self._credits[index] += self._routes[index].weight
        best = max(usable, key=lambda index: self._credits[index])
        self._credits[best] -= sum(self._routes[index].weight for index in usable)
        return self._routes[best]
