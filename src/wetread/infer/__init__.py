"""Prepared -> Prediction, without torch: model folder, engines, mask cleaning.

May change freely: an engine file.  Must not: import torch, DICOM or another engine.
"""

from __future__ import annotations

from wetread.infer.answers import calibrated, findings
from wetread.infer.choice import NEARLY, PREFERENCE, Choice, candidates, check_build, choose, shape
from wetread.infer.engine import DEVICES, natively
from wetread.infer.fit import check_fit
from wetread.infer.foreseen import NONE, Answers, Foreseen
from wetread.infer.gate import Gate
from wetread.infer.host import Loaded, StoodIn, chosen_by, golden, holding, load, missed, open_all
from wetread.infer.masks import is_pair, kept, lungs, outlines, soft
from wetread.infer.model import Build, Intended, Label, Model, find, read
from wetread.infer.profile import Failure, Measured, Profile, Site
from wetread.infer.profile import read as read_profile
from wetread.infer.profile import write as write_profile
from wetread.infer.regions import regions
from wetread.infer.routing import permitted, route
from wetread.infer.tuning import Trial, certify_here, merged, plan, trial

__all__ = [
    "DEVICES",
    "NEARLY",
    "NONE",
    "PREFERENCE",
    "Answers",
    "Build",
    "Choice",
    "Failure",
    "Foreseen",
    "Gate",
    "Intended",
    "Label",
    "Loaded",
    "Measured",
    "Model",
    "Profile",
    "Site",
    "StoodIn",
    "Trial",
    "calibrated",
    "candidates",
    "certify_here",
    "check_build",
    "check_fit",
    "choose",
    "chosen_by",
    "find",
    "findings",
    "golden",
    "holding",
    "is_pair",
    "kept",
    "load",
    "lungs",
    "merged",
    "missed",
    "natively",
    "open_all",
    "outlines",
    "permitted",
    "plan",
    "read",
    "read_profile",
    "regions",
    "route",
    "shape",
    "soft",
    "trial",
    "write_profile",
]
