"""Random changes of a route: a stage moved, a boundary shifted, devices exchanged, blocks moved, a codec."""

from collections.abc import Sequence
from random import Random

from planning.scheduling.route_forms import RouteForm, RouteForms

# By how many blocks a boundary between stages moves at most.
MAX_SHIFT = 3

# Cumulative shares of the moves.
_CODEC, _STAGE, _BOUNDARY, _EXCHANGE = 0.14, 0.4, 0.67, 0.74


def changed_route(forms: RouteForms, form: RouteForm, random: Random, lateness: float = 1.0) -> RouteForm | None:
    """Return a neighbour of a route, drawn at random; None if the draw is impossible or breaks a constraint.

    Args:
        forms: the routes of the stream.
        form: the route.
        random: the source of draws.
        lateness: larger numbers change later stages more often; 1 changes all equally.
    """
    draw = random.random()
    if draw < _CODEC:
        return _with_other_codec(forms, form, random)
    if draw < _STAGE:
        nodes = _with_stage_moved(form.nodes, forms.times.able, random, lateness)
    elif draw < _BOUNDARY:
        nodes = _with_boundary_shifted(form.nodes, random, lateness)
    elif draw < _EXCHANGE:
        one, two = random.choice(form.nodes), random.choice(forms.times.able)
        nodes = [two if node == one else one if node == two else node for node in form.nodes]
    else:
        nodes = _with_blocks_moved(form.nodes, forms.times.able, random, lateness)
    return forms.over(nodes, form)


def _with_other_codec(forms: RouteForms, form: RouteForm, random: Random) -> RouteForm | None:
    offers = forms.tables.offers
    sending = [
        block
        for block, node in enumerate(form.nodes)
        if len(offers[block + 1]) > 1 and forms.receiver(form.nodes, block) != node
    ]
    if not sending:
        return None
    block = random.choice(sending)
    codecs = list(form.codecs)
    codecs[block] = random.randrange(len(offers[block + 1]))
    return forms.form(form.nodes, tuple(codecs))


def _with_stage_moved(nodes: Sequence[int], able: Sequence[int], random: Random, lateness: float) -> list[int]:
    changed = list(nodes)
    start = _place(len(nodes), random, lateness)
    stop = start + 1
    while start and nodes[start - 1] == nodes[start]:
        start -= 1
    while stop < len(nodes) and nodes[stop] == nodes[start]:
        stop += 1
    changed[start:stop] = [random.choice(able)] * (stop - start)
    return changed


def _with_boundary_shifted(nodes: Sequence[int], random: Random, lateness: float) -> list[int]:
    changed = list(nodes)
    cuts = [block for block in range(1, len(nodes)) if nodes[block] != nodes[block - 1]]
    if not cuts:
        return changed
    cut = cuts[_place(len(cuts), random, lateness)]
    # Short shifts are drawn more often.
    shift = 1 + int(MAX_SHIFT * random.random() ** 2)
    if random.random() < 0.5:
        stop = min(len(nodes), cut + shift)
        changed[cut:stop] = [nodes[cut - 1]] * (stop - cut)
    else:
        start = max(0, cut - shift)
        changed[start:cut] = [nodes[cut]] * (cut - start)
    return changed


def _with_blocks_moved(nodes: Sequence[int], able: Sequence[int], random: Random, lateness: float) -> list[int]:
    changed = list(nodes)
    start = _place(len(nodes), random, lateness)
    # Short runs are drawn more often.
    stop = start + 1 + int((len(nodes) - start) * random.random() ** 2)
    # A node of the route itself joins neighbouring stages or visits a device again.
    changed[start:stop] = [random.choice(able if random.random() < 0.5 else nodes)] * (stop - start)
    return changed


def _place(count: int, random: Random, lateness: float) -> int:
    """Return one of ``count`` places; with a larger ``lateness`` the last ones are drawn more often."""
    return int(count * random.random() ** (1 / lateness))
