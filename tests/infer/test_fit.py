"""A model reads only what it was made for, and guesses nothing that it does not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import phantoms, toy
from wetread import acquire, infer
from wetread.errors import ModelError, NotRead
from wetread.infer import Intended, Model
from wetread.records import Image
from wetread.settings import Settings

CHILDREN = Intended(age_years=(1, 5))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return infer.read(toy.make_models(tmp_path_factory.mktemp("toy")) / "cxr-pneumonia")


@pytest.fixture(scope="module")
def image() -> Image:
    """96 x 80 pixels of 0.2 mm."""
    (study,) = acquire.decode([("film.dcm", phantoms.to_bytes(phantoms.make_film()))], Settings())
    return study.images[0]


@pytest.mark.parametrize("ages", [(1,), (5,), (4, 5)])
def test_patients_of_the_age_are_read(model: Model, image: Image, ages: tuple[int, ...]) -> None:
    infer.check_fit(replace(model, intended=CHILDREN), replace(image, ages=ages))


@pytest.mark.parametrize(
    ("intended", "changes", "code"),
    [
        (CHILDREN, {"ages": (0,)}, "OUTSIDE-AGE"),
        (CHILDREN, {"ages": (6,)}, "OUTSIDE-AGE"),
        (CHILDREN, {"ages": (4, 84)}, "OUTSIDE-AGE"),
        (CHILDREN, {"ages": ()}, "MISSING-TAG"),
        (Intended(field_mm=17.0), {}, "SMALL-FIELD"),
        (Intended(field_mm=16.0), {"spacing_mm": None}, "MISSING-TAG"),
        (Intended(), {"pixels": np.zeros((9, 96, 80), np.uint8)}, "MULTI-FRAME"),
    ],
)
def test_others_are_not(model: Model, image: Image, intended: Intended, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(NotRead) as told:
        infer.check_fit(replace(model, intended=intended), replace(image, **changes))
    assert told.value.code == code
    assert "cxr-pneumonia" in told.value.detail
    assert "84" not in told.value.detail  # an age is the patient's


def test_field_that_is_just_large_enough(model: Model, image: Image) -> None:
    infer.check_fit(replace(model, intended=Intended(field_mm=16.0)), image)


def test_model_without_a_range_reads_whatever_is_not_known(model: Model, image: Image) -> None:
    infer.check_fit(model, replace(image, ages=(), spacing_mm=None))


@pytest.mark.parametrize(
    ("views", "view"),
    [
        (("AP", "PA", "LL"), ""),
        (("LL", "RL"), "LL"),
        (("CC", "MLO"), "CC"),  # rows of a mammogram run to the front or back
        ((), ""),
    ],
)
def test_a_film_whose_rows_run_to_the_front_is_for_models_of_other_than_frontal_views(
    model: Model, image: Image, views: tuple[str, ...], view: str
) -> None:
    sided = replace(model, views=views)
    assert infer.route([sided], replace(image, view=view, row_direction="A")) == (sided,)


@pytest.mark.parametrize("view", ["", "PA"])
@pytest.mark.parametrize("towards", ["A", "P"])
def test_a_film_whose_rows_run_to_the_front_or_back_is_not_for_models_of_frontal_views(
    model: Model, image: Image, view: str, towards: str
) -> None:
    frontal = replace(model, views=("AP", "PA"))
    with pytest.raises(NotRead, match=r"WRONG-VIEW.*Patient Orientation"):
        infer.route([frontal], replace(image, view=view, row_direction=towards))


@pytest.mark.parametrize("view", ["", "AP"])
@pytest.mark.parametrize("towards", ["H", "L", "R", "A", "P"])
def test_a_film_that_says_it_lies_upside_down_or_on_a_side_is_not_for_models_of_upright_films(
    model: Model, image: Image, view: str, towards: str
) -> None:
    frontal = replace(model, views=("AP", "PA"))
    with pytest.raises(NotRead, match=r"WRONG-VIEW.*Patient Orientation.*columns to 'F'"):
        infer.route([frontal], replace(image, view=view, column_direction=towards))
    lying = replace(model, views=("AP", "PA", "LLD"))
    assert infer.route([lying], replace(image, view="LLD", column_direction=towards)) == (lying,)
    for known in ("F", ""):
        assert infer.route([frontal], replace(image, view=view, column_direction=known)) == (frontal,)


def declared(folder: Path, table: str) -> Intended:
    path = toy.make_models(folder) / "cxr-pneumonia" / "model.toml"
    path.write_text(f"{path.read_text()}[intended]\n{table}\n")
    return infer.read(path.parent).intended


def test_declaration(tmp_path: Path) -> None:
    found = declared(tmp_path, 'age_years = [1, 5]\nfield_mm = 200\nrule = "a toy"')
    assert found == Intended((1, 5), 200.0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("age_years = [5, 1]", "youngest, oldest"),
        ("age_years = [1]", "youngest, oldest"),
        ("age_years = [1, 5.5]", "youngest, oldest"),
        ("age_years = 5", "misnamed key|youngest, oldest"),
        ("field_mm = -1", "field_mm"),
        ("field_mm = nan", "field_mm: expected a finite number, 0 to inf, got nan"),
        ("ages = [1, 5]", "expected age_years, field_mm, rule; got ages"),
    ],
)
def test_declaration_that_makes_no_sense(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        declared(tmp_path, table)
