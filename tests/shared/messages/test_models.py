"""Sizes of a manifest's blocks."""

from shared.messages.models import ManifestBlock


def test_a_block_without_activation_needs_its_output_while_it_runs() -> None:
    assert ManifestBlock(name="conv", output_bytes=100, activation_bytes=300).working_bytes == 300
    assert ManifestBlock(name="conv", output_bytes=100).working_bytes == 100
