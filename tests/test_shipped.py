"""The models that ship: small, and without a trace of the machine that made them."""

from __future__ import annotations

from pathlib import Path

import pytest

MODELS = Path(__file__).parents[1] / "models"
MOST_BYTES = 30_000_000
GRAPHS = sorted(MODELS.glob("*/*.onnx"))


def test_all_models_together_stay_under_30_mb() -> None:
    total = sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file())
    assert 0 < total < MOST_BYTES, f"expected less than {MOST_BYTES} bytes, got {total}"


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_graph_names_a_folder_of_the_machine_that_made_it(path: Path) -> None:
    assert b"site-packages" not in path.read_bytes(), "export the model again"
