"""Routes as text."""

from shared.messages.streams import PlanRoute, PlanStage, route_text


def test_a_route_is_spelled_stage_by_stage() -> None:
    stages = (PlanStage(start=0, stop=4, device="pi"), PlanStage(start=4, stop=9, device="server"))
    assert route_text(PlanRoute(stages=stages)) == "pi[0,4) > server[4,9)"
