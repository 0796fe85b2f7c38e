"""Prepared -> Prediction, without torch: model folder, engines, mask cleaning.

May change freely: an engine file.  Must not: import torch, DICOM or another engine.
"""

from __future__ import annotations

from wetread.infer.answers import findings
from wetread.infer.fit import check_fit
from wetread.infer.host import Choice, Loaded, candidates, choose, golden, load, open_all, tune
from wetread.infer.masks import is_pair, lungs, outlines, soft
from wetread.infer.model import Build, Gate, Intended, Label, Model, find, read
from wetread.infer.profile import Measured, Profile
from wetread.infer.profile import read as read_profile
from wetread.infer.profile import write as write_profile
from wetread.infer.regions import regions
from wetread.infer.routing import route

__all__ = [
    "Build",
    "Choice",
    "Gate",
    "Intended",
    "Label",
    "Loaded",
    "Measured",
    "Model",
    "Profile",
    "candidates",
    "check_fit",
    "choose",
    "find",
    "findings",
    "golden",
    "is_pair",
    "load",
    "lungs",
    "open_all",
    "outlines",
    "read",
    "read_profile",
    "regions",
    "route",
    "soft",
    "tune",
    "write_profile",
]
