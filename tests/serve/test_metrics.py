"""What is counted of readings."""

from __future__ import annotations

from dataclasses import replace

from tests.report import phantom
from wetread.records import Reading
from wetread.serve.metrics import Metrics


def test_answer_of_another_engine_is_counted() -> None:
    metrics, result = Metrics(), phantom.partial()
    fallen = replace(result, models=tuple(replace(one, instead_of="cuda OUT-OF-MEMORY") for one in result.models[:1]))
    metrics.read([Reading(result, ()), Reading(fallen, ())], 0.1)
    counted = f'wetread_engine_fallbacks_total{{instead_of="cuda OUT-OF-MEMORY",model="{result.models[0].id}"}} 1.0'
    assert counted in metrics.text().decode()


def test_models_that_did_not_read_are_counted_by_code() -> None:
    metrics = Metrics()
    again = replace(phantom.partial(), source="again.dcm")
    metrics.read([Reading(result, ()) for result in (phantom.partial(), again, phantom.refused())], 0.1)
    text = metrics.text().decode()
    assert 'wetread_not_read_total{model="cxr-pneumonia",refusal="OUTSIDE-AGE"} 2.0' in text
    assert 'wetread_results_total{refusal=""} 2.0' in text
    assert 'wetread_results_total{refusal="WRONG-BODY-PART"} 1.0' in text
