"""Which builds are worth shipping: certified, and on the front of accuracy and latency."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wetread.errors import BadInput
from wetread.lab.sweep import front, judge, sweep_builds


def point(build: str, ms: float, *values: float, engine: str = "openvino") -> dict[str, Any]:
    figures = [{"value": value, "margin": 0.01} for value in values]
    return {"build": build, "engine": engine, "p50_ms": ms, "figures": figures}


def test_the_front_is_what_nothing_beats() -> None:
    points = [point("fp32", 10, 0.95), point("int8", 4, 0.94), point("bf16", 6, 0.93), point("pruned-int8", 2, 0.90)]
    assert front(points) == [True, True, False, True]


def test_a_difference_that_is_noise_is_none() -> None:
    assert front([point("fp32", 10, 0.9504), point("int8", 4, 0.9500)]) == [False, True]
    assert front([point("fp32", 10, 0.9520), point("int8", 4, 0.9500)]) == [True, True]


def test_one_figure_is_enough_to_be_on_the_front() -> None:
    assert front([point("fp32", 10, 0.95, 0.80), point("int8", 4, 0.95, 0.78)]) == [True, True]


def test_a_build_is_worth_shipping_if_it_is_certified_and_not_beaten() -> None:
    points = [
        point("fp32", 10, 0.95),
        point("bf16", 3, 0.95),
        point("int8", 5, 0.95),
        point("int8", 7, 0.95, engine="onnxruntime"),
        point("pruned-int8", 1, 0.95),
    ]
    told = {
        (one["build"], one["engine"]): one["worth"] for one in judge(points, dict.fromkeys(("fp32", "bf16", "int8")))
    }
    assert told == {
        ("fp32", "openvino"): "no: another is as good and faster",
        ("bf16", "openvino"): "yes",
        ("int8", "openvino"): "yes, for hosts without bfloat16",
        ("int8", "onnxruntime"): "yes, for hosts without bfloat16",
        ("pruned-int8", "openvino"): "no: it failed its certificate",
    }


def test_a_model_without_certificate_or_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="certify the model first"):
        sweep_builds({"id": "toy"}, tmp_path, tmp_path / "models")
    folder = tmp_path / "models" / "toy"
    folder.mkdir(parents=True)
    (folder / "fp32.onnx").write_bytes(b"other")
    row = {"build": "fp32", "engine": "openvino", "sha256": "0" * 64}
    (folder / "certificate.json").write_text(json.dumps({"builds": [row]}))
    with pytest.raises(BadInput, match="SHA-256 0000000000000000"):
        sweep_builds({"id": "toy"}, tmp_path, tmp_path / "models")
