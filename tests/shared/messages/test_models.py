"""Sizes and rows of a manifest's blocks."""

from shared.messages.models import Manifest, ManifestBlock, ManifestRows


def test_a_block_without_activation_needs_its_output_while_it_runs() -> None:
    assert ManifestBlock(name="conv", output_bytes=100, activation_bytes=300).working_bytes == 300
    assert ManifestBlock(name="conv", output_bytes=100).working_bytes == 100


def test_manifests_with_and_without_rows_describe_the_same_model() -> None:
    """An earlier version wrote manifests without rows; profiles and versions of them stay in force."""

    def manifest(rows: ManifestRows | None) -> Manifest:
        block = ManifestBlock(name="conv", output_bytes=100, rows=rows)
        return Manifest(model="a" * 64, name="m", size_bytes=1, inputs=(), outputs=(), blocks=(block,))

    with_rows, without = manifest(ManifestRows(output_rows=8, kernel=3, padding=1)), manifest(None)
    assert with_rows.version() == without.version()
    assert with_rows.graph_version() == without.graph_version()
