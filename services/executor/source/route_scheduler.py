"""Choice of the next request's route: smooth weighted round robin, or the order of a burst."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.messages.streams import PlanRoute


@dataclass(slots=True)
class RouteScheduler:
    """Spreads requests over routes in proportion to their weights, as evenly as possible.

    Smooth weighted round robin as in nginx (ngx_http_upstream_round_robin): the credit of every usable route grows by
    its weight. The route with the most credit is taken and pays the sum of the weights. Weights 5, 1, 1 give the order
    A A B A C A A.

    In order (`in_order`), the routes are those of a burst. The first `weight` requests take the first route, the next
    ones the second, and so on. After the last route the order begins again. A burst that continues while its routes
    change continues at the same place, because the new routes were planned for the whole burst.
    """

    _routes: tuple[PlanRoute, ...] = ()
    _credits: list[int] = field(default_factory=list)
    _in_order: bool = False
    # Number of requests of the current burst that have had their first attempt.
    _place: int = 0

    def set_routes(self, routes: Sequence[PlanRoute], *, in_order: bool = False) -> None:
        """Use these routes for later requests; credits stay if the routes are the same as before."""
        self._in_order = in_order
        if tuple(routes) != self._routes:
            self._routes = tuple(routes)
            self._credits = [0] * len(self._routes)

    def begin_burst(self) -> None:
        """Make the next request the first of a burst."""
        self._place = 0

    def next(self, is_usable: Callable[[PlanRoute], bool], *, is_retry: bool = False) -> PlanRoute | None:
        """Return the route of the next request, None if no route is usable.

        Args:
            is_usable: returns whether a route can be taken.
            is_retry: the request has had its place in the burst; a retry takes none.
        """
        if self._in_order and not is_retry and self._routes:
            route = self._route_at(self._place)
            if is_usable(route):
                self._place += 1
                return route
        spread = self._spread(is_usable)
        if spread is not None and not is_retry:
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
        # The usable weights only: credits keep their sum of zero while some routes are unusable.
        self._credits[best] -= sum(self._routes[index].weight for index in usable)
        return self._routes[best]
