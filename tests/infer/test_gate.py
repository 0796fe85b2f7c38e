"""A segmenter that contradicts itself on the mirror image does not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import phantoms, toy
from wetread import infer, pipeline
from wetread.errors import ModelError, NotRead
from wetread.infer.gate import agreement, lowest_edge, with_mirror
from wetread.prepare import prepare
from wetread.records import Box, Tensor
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
    assert agreement(logits(1, 2, 3, 6, 5, 0)) == pytest.approx(2 / 3)  # all slices of a series together


@pytest.fixture
def gated(tmp_path: Path) -> infer.Loaded:
    model = infer.read(toy.make_models(tmp_path / "models") / "cxr-lungs")
    return infer.load(replace(model, gate=infer.Gate(mirrored=0.9)), infer.candidates(model)[0])


def test_answers_are_those_of_the_image_alone(gated: infer.Loaded) -> None:
    prepared = prepare(phantoms.chest(), 1.0, gated.model.recipe)
    plain = replace(gated, model=replace(gated.model, gate=infer.Gate())).predict(prepared)
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


@pytest.mark.parametrize(("rows", "share"), [(12, 0.0), (7, 1.0), (5, 1.0)])
def test_lungs_that_the_lower_edge_cuts_are_seen(rows: int, share: float) -> None:
    """The picture ends after `rows`; what follows is black, as is the padding."""
    lungs, film = np.zeros((16, 10), bool), np.zeros((16, 10), np.float32)
    lungs[2:6, 2:4] = lungs[2:6, 6:8] = True
    film[:rows] = np.random.default_rng(0).random((rows, 10))
    assert lowest_edge(lungs, film, Box(0, 0, 14, 10)) == share
    assert lowest_edge(np.zeros_like(lungs), film, Box(0, 0, 14, 10)) == 0.0


def declared(tmp_path: Path, sha256: str = "") -> Path:
    path = toy.make_models(tmp_path / "models") / "cxr-lungs" / "model.toml"
    sha256 = sha256 or infer.read(path.parent).builds[0].sha256
    path.write_text(
        path.read_text() + f"[gate]\nmirrored = 0.93\nlungs_cut = 0.4\nsha256 = '{sha256}'\nrule = 'none'\n"
    )
    return path


def test_gate_of_the_folder_is_read(tmp_path: Path) -> None:
    path = declared(tmp_path)
    assert infer.read(path.parent).gate == infer.Gate(0.93, 0.4)
    pipeline.open_reader(Settings(models=path.parent.parent, state=tmp_path / "state"))


def test_gate_of_other_bytes_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fix it again: wetread lab gate cxr-lungs"):
        infer.read(declared(tmp_path, "0" * 64).parent)


def test_film_that_ends_before_the_lungs_is_refused(gated: infer.Loaded) -> None:
    strict = replace(gated, model=replace(gated.model, gate=infer.Gate(lungs_cut=0.5)))
    film = phantoms.chest()
    strict.predict(prepare(film, 1.0, gated.model.recipe))
    cut = film.copy()
    cut[len(film) // 2 :] = film.min()
    with pytest.raises(NotRead, match="at most 50%") as told:
        strict.predict(prepare(cut, 1.0, gated.model.recipe))
    assert told.value.code == "CUT-OFF"
