from shared.transport_mode import Carrier, TransportMode


def test_a_mode_allows_its_own_carrier_and_auto_both() -> None:
    allowed = {mode: {carrier for carrier in Carrier if mode.allows(carrier)} for mode in TransportMode}
    assert allowed == {
        TransportMode.MQTT: {Carrier.MQTT},
        TransportMode.DIRECT: {Carrier.DIRECT},
        TransportMode.AUTO: {Carrier.MQTT, Carrier.DIRECT},
    }
