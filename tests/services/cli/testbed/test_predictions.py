"""Latencies predicted under given conditions."""

import pytest

from services.cli.testbed.conditions import Conditions
from services.cli.testbed.predictions import predict_ms
from tests.support.run_records import BASIS, DEAD, LOCAL, REMOTE, SLOW, USUAL, plan_route


def test_predictions_follow_the_cost_model() -> None:
    assert predict_ms(BASIS, USUAL, [REMOTE]) == pytest.approx(2 + 20 + 11)
    assert predict_ms(BASIS, SLOW, [REMOTE]) == pytest.approx(2 + 200 + 11)
    assert predict_ms(BASIS, USUAL, [plan_route(("camera", 0, 2), ("server", 2, 3))]) == pytest.approx(40 + 2 + 5 + 7)
    assert predict_ms(BASIS, Conditions(USUAL.links, {"server": 3.0}), [REMOTE]) == pytest.approx(22 + 33)
    assert predict_ms(BASIS, DEAD, [REMOTE]) is None
    assert predict_ms(BASIS, Conditions(links={}), [REMOTE]) is None


def test_several_routes_count_by_their_weights() -> None:
    heavy = LOCAL.model_copy(update={"weight": 3})
    assert predict_ms(BASIS, USUAL, [REMOTE, heavy]) == pytest.approx((33 + 3 * 100) / 4)
    assert predict_ms(BASIS, DEAD, [REMOTE, heavy]) is None
    assert predict_ms(BASIS, USUAL, []) is None
