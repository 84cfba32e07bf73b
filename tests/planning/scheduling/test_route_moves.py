"""Random changes reach every route from any other where all devices are linked."""

import random
from dataclasses import replace
from itertools import product

from planning.problem.problem import Link
from planning.scheduling.route_forms import RouteForm, RouteForms
from planning.scheduling.route_moves import changed_route
from planning.search.cost_tables import build_tables
from shared.policy import Objective
from tests.support.random_problems import random_problem


def _every_route(forms: RouteForms) -> set[RouteForm]:
    every: set[RouteForm] = set()
    offers = [range(len(offer)) for offer in forms.tables.offers[1:]]
    for nodes in product(range(len(forms.tables.nodes)), repeat=forms.blocks):
        sends = [forms.receiver(nodes, block) != node for block, node in enumerate(nodes)]
        for codecs in product(*(offer if sent else (0,) for offer, sent in zip(offers, sends, strict=True))):
            form = forms.form(nodes, codecs)
            if form is not None:
                every.add(form)
    return every


def test_changes_reach_every_route() -> None:
    sizes = []
    for seed in range(8):
        rng = random.Random(seed)
        problem = random_problem(rng, Objective.LATENCY, codecs=True, most_blocks=3)
        links = tuple(Link(one, two, 50.0) for one in problem.devices for two in problem.devices if one < two)
        problem = replace(problem, links=links)
        forms = RouteForms(problem, build_tables(problem, problem.streams[0]))
        every = _every_route(forms)
        if not every:
            continue
        waiting = [min(every, key=lambda form: form.latency_ms)]
        reached = set(waiting)
        while waiting:
            here = waiting.pop()
            drawn = {changed_route(forms, here, rng) for _ in range(400)}
            fresh = [form for form in drawn if form is not None and form not in reached]
            reached.update(fresh)
            waiting += fresh
        assert reached == every
        sizes.append(len(every))
    assert max(sizes) > 30
