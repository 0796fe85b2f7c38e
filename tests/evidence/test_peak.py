"""The load of a hospital's peak: the plan keeps its rate, and copies of a study are studies of their own."""

from __future__ import annotations

import io

import pydicom
import pytest

from wetread.evidence import hospital, peak


def test_plan_keeps_rate_and_bursts() -> None:
    arrivals = peak.plan(hours=20, rate=400)
    assert len(arrivals) == pytest.approx(20 * 400, rel=0.05)
    inside = [one for one in arrivals if 1500 <= one.at_s % 3600 < 1500 + peak.BURST_S]
    usual = (len(arrivals) - len(inside)) / (3600 - peak.BURST_S)
    assert len(inside) / peak.BURST_S / usual == pytest.approx(peak.BURST_FACTOR, rel=0.1)
    assert sum(one.lane == "STAT" for one in arrivals) / len(arrivals) == pytest.approx(0.1, abs=0.02)
    assert arrivals == peak.plan(hours=20, rate=400)


def test_copies_share_no_uid() -> None:
    template = hospital._template("CT", list(hospital._slices("CT", hospital.chest(3, 32), (5.0, 0.7, 0.7))))
    seen: set[str] = set()
    for number in range(3):
        study, files = template.copy(number)
        read = [pydicom.dcmread(io.BytesIO(data)) for data in files]
        assert {one.StudyInstanceUID for one in read} == {study}
        assert all(one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID for one in read)
        mine = {study, read[0].SeriesInstanceUID, *(one.SOPInstanceUID for one in read)}
        assert len(mine) == 5
        assert all(len(name) <= 64 for name in mine)
        assert not mine & seen
        seen |= mine
