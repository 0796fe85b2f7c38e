"""A segmenter that contradicts itself on the mirror image does not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import phantoms, toy
from wetread import infer, pipeline
from wetread.errors import NotRead
from wetread.infer.gate import agreement, with_mirror
from wetread.prepare import prepare
from wetread.records import Tensor
from wetread.settings import Settings


def logits(*columns: int) -> Tensor:
    """A mask of one column for each image."""
    made = np.full((len(columns), 1, 4, 8), -1.0, np.float32)
    for image, column in enumerate(columns):
        made[image, 0, :, column] = 1.0
    return made


def test_mirror_image_follows() -> None:
    tensor = np.arange(16, dtype=np.float32).reshape(2, 1, 2, 4)
    assert with_mirror(tensor)[2:].tolist() == tensor[..., ::-1].tolist()


def test_agreement_is_the_overlap_with_the_mirror_image() -> None:
    assert agreement(logits(1, 6)) == 1.0
    assert agreement(logits(1, 1)) == 0.0
    assert agreement(logits(1, 2, 3, 6, 5, 0)) == 1.0  # the median of a series


@pytest.fixture
def gated(tmp_path: Path) -> infer.Loaded:
    model = infer.read(toy.make_models(tmp_path / "models") / "cxr-lungs")
    return infer.load(replace(model, mirrored_dice=0.9), infer.candidates(model)[0])


def test_answers_are_those_of_the_image_alone(gated: infer.Loaded) -> None:
    prepared = prepare(phantoms.chest(), 1.0, gated.model.recipe)
    plain = replace(gated, model=replace(gated.model, mirrored_dice=0.0)).predict(prepared)
    found = gated.predict(prepared).outputs["logits"]
    assert found.shape == plain.outputs["logits"].shape
    np.testing.assert_allclose(found, plain.outputs["logits"], atol=1e-4)


def test_contradiction_is_refused(gated: infer.Loaded) -> None:
    class Lopsided:
        """Says lung in the left half, whatever it is shown."""

        name, version, device = "lopsided", "1", "CPU"

        def run(self, tensor: Tensor) -> dict[str, Tensor]:
            made = np.full(tensor.shape, -1.0, np.float32)
            made[..., : tensor.shape[-1] // 2] = 1.0
            return {"logits": made}

    with pytest.raises(NotRead, match=r"at least 0\.90 .* got 0\.00") as told:
        replace(gated, engine=Lopsided()).predict(prepare(phantoms.chest(), 1.0, gated.model.recipe))
    assert told.value.code == "INCONSISTENT"


def test_gate_of_the_folder_is_read(tmp_path: Path) -> None:
    path = toy.make_models(tmp_path / "models") / "cxr-lungs" / "model.toml"
    path.write_text(path.read_text() + "[gate]\nmirrored_dice = 0.93\nrule = 'none: a toy'\n")
    assert infer.read(path.parent).mirrored_dice == 0.93
    pipeline.open_reader(Settings(models=path.parent.parent, state=tmp_path / "state"))
