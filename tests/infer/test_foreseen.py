"""What was asked before is not asked again, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.infer.faulty import Faulty
from wetread import infer, prepare
from wetread.errors import EngineError
from wetread.infer import foreseen as module
from wetread.infer.foreseen import Answers, Foreseen
from wetread.infer.gate import Gate
from wetread.records import Prepared, Recipe, Tensor
from wetread.settings import Settings

MODEL = next(model for model in infer.find(Path("models")) if model.id == "ct-lungs")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> infer.Loaded:
    """The lungs of a CT, without a gate: what is asked here is noise."""
    settings = Settings(state=tmp_path_factory.mktemp("state"))
    (one,) = infer.open_all([replace(MODEL, gate=Gate())], infer.read_profile(settings.profile_path), settings)
    return one


@pytest.fixture
def counted(loaded: infer.Loaded) -> infer.Loaded:
    """The same, with an engine that counts."""
    return replace(loaded, engine=Faulty(loaded.engine, ""))


def calls(loaded: infer.Loaded) -> int:
    assert isinstance(loaded.engine, Faulty)
    return loaded.engine.calls


def noise(slices: int, seed: int = 0) -> Prepared:
    values = np.random.default_rng(seed).integers(-1000, 300, (slices, 64, 64)).astype(np.int16)
    return prepare.prepare(values, 1.0, MODEL.recipe)


def part(prepared: Prepared, rows: list[int]) -> Prepared:
    return replace(prepared, tensor=prepared.tensor[rows])


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [4, 0], [2]])
def test_what_was_asked_is_not_asked_again(counted: infer.Loaded, rows: list[int]) -> None:
    whole, known = noise(5), Answers()
    expected = counted.predict(whole).outputs
    known.add(counted.identity, part(whole, rows).tensor, counted.foresee(part(whole, rows)))
    asked = calls(counted)
    found = counted.predict(whole, known=known).outputs
    assert calls(counted) - asked == (len(rows) < 5)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values.shape == expected[name].shape
        assert values.dtype == expected[name].dtype
        np.testing.assert_allclose(values, expected[name], atol=1e-4)
        for row in rows:
            assert np.array_equal(values[row], known.to(counted.identity, whole.tensor)[row][name])  # type: ignore[index]


def test_one_bit_more_is_another_question(counted: infer.Loaded) -> None:
    whole, known = noise(1), Answers()
    known.add(counted.identity, whole.tensor, counted.foresee(whole))
    other = replace(whole, tensor=np.nextafter(whole.tensor, np.float32(9)))
    asked = calls(counted)
    counted.predict(other, known=known)
    assert calls(counted) == asked + 1


def test_another_build_is_asked_itself(counted: infer.Loaded) -> None:
    whole, known = noise(2), Answers()
    known.add(counted.identity, whole.tensor, counted.foresee(whole))
    other = replace(counted, identity=replace(counted.identity, build="another"))
    asked = calls(counted)
    other.predict(whole, known=known)
    assert calls(counted) == asked + 1


def test_the_spare_is_asked_where_the_engine_fails(loaded: infer.Loaded) -> None:
    whole, known = noise(3), Answers()
    known.add(loaded.identity, whole.tensor[:1], loaded.foresee(part(whole, [0])))
    broken = replace(loaded, engine=Faulty(loaded.engine, "lost", after=0), spare=loaded)
    found = broken.predict(whole, known=known)
    assert found.model.instead_of == "cuda ENGINE-FAILED"
    assert np.array_equal(found.outputs[MODEL.mask_output], loaded.predict(whole).outputs[MODEL.mask_output])
    with pytest.raises(EngineError):
        broken.foresee(whole)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"window": None}, True),
        ({"window": None, "percentiles_of": "series"}, False),
        ({"percentiles_of": "series"}, True),  # not looked at beside a window
        ({"region": "head"}, False),
        ({"beside": True, "channels": 3}, False),
        ({"depth": 8}, False),
    ],
)
def test_which_models_need_no_other_slice(loaded: infer.Loaded, changed: dict[str, object], expected: bool) -> None:
    recipe: Recipe = replace(MODEL.recipe, **changed)  # type: ignore[arg-type]
    assert replace(loaded, model=replace(MODEL, recipe=recipe)).foresees is expected


def test_a_gate_that_asks_for_mirror_images_needs_the_whole(loaded: infer.Loaded) -> None:
    assert not replace(loaded, model=replace(MODEL, gate=Gate(mirrored=0.9))).foresees


def answers(mb: int) -> tuple[Tensor, dict[str, Tensor]]:
    return np.zeros((1, 1, 2, 2), np.float32), {"mask": np.zeros((1, mb << 18), np.float32)}


def test_a_study_is_known_once_and_no_other(loaded: infer.Loaded) -> None:
    foreseen, (tensor, outputs) = Foreseen(), answers(1)
    foreseen.add("1.2", loaded.identity, tensor, outputs)
    assert foreseen.take("1.3").to(loaded.identity, tensor) == [None]
    assert foreseen.take("1.2").to(loaded.identity, tensor) != [None]
    assert foreseen.take("1.2").to(loaded.identity, tensor) == [None]


def test_the_oldest_studies_give_way(loaded: infer.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 3 << 20)
    foreseen, (tensor, outputs) = Foreseen(), answers(1)
    for study in ("1", "2", "1", "3"):  # of "1" more came since
        foreseen.add(study, loaded.identity, tensor, outputs)
    foreseen.add("4", loaded.identity, *answers(4))  # more than there is room for, and it asks for room
    assert [foreseen.take(study).bytes >> 20 for study in ("1", "2", "3", "4")] == [0, 0, 0, 0]
    for study in ("1", "2", "3", "4", "3"):
        foreseen.add(study, loaded.identity, tensor, outputs)
    assert [foreseen.take(study).bytes >> 20 for study in ("1", "2", "3", "4")] == [0, 0, 2, 1]


def test_what_is_kept_is_what_is_counted(loaded: infer.Loaded) -> None:
    """Of an answer to several threads at once, no more than the part that was asked for."""
    known, together = Answers(), np.zeros((16, 1, 2, 2), np.float32)
    known.add(loaded.identity, np.zeros((1, 1, 2, 2), np.float32), {"mask": together[:1]})
    (answer,) = known.to(loaded.identity, np.zeros((1, 1, 2, 2), np.float32))
    assert answer is not None
    assert answer["mask"].base is None
    assert known.bytes == answer["mask"].nbytes == 16
