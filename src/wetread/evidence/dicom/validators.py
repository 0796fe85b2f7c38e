"""What validators say of documents: dciodvfy and dcentvfy of dicom3tools, dsrdump of DCMTK, and our own checker."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from wetread import report
from wetread.records import Document

#: Warnings that stay, each with its reason.
ALLOWED = {
    "UI Device UID": "IHE AIR demands it; this dciodvfy is older than its place in the standard",
    "Standard Extended SOP Class": "follows from Device UID",
    "<99WETREAD>": "a private coding scheme, declared in the document",
    "attribute <Coding Scheme UID>": "the UID of the private scheme",
    "needed to build DICOMDIR": "the source has no Study ID",
    "attribute <Laterality>": "the source does not say which body part it is: not known, so empty (type 2C)",
    "Element=<AccessionNumber> IE <Study> versus <Series>": "compared between two levels, where it means two things",
    "does not support this Specific Character Set: ISO_IR 192": "about the tool: it cannot judge UTF-8",
}
#: This dicom3tools is older than the class of label maps; highdicom reads those.
UNKNOWN = ("LABELMAP",)


def programs() -> dict[str, str]:
    """Return the programs by name.

    Raises
    ------
    FileNotFoundError
        One is not installed.
    """
    found = {name: shutil.which(name, path="/usr/bin:/usr/local/bin") for name in ("dciodvfy", "dcentvfy", "dsrdump")}
    for name, path in found.items():
        if path is None:
            raise FileNotFoundError(f"{name}: expected the program, found none; install dicom3tools and dcmtk")
    return {name: str(path) for name, path in found.items()}


def judged(documents: Mapping[str, Document], files: tuple[bytes, ...], folder: Path) -> Counter[str]:
    """Count what is said of the documents of one result: judgements, errors, warnings that are not allowed.

    Parameters
    ----------
    files
        The images that the result is about.
    folder
        An empty one.
    """
    tools, said = programs(), Counter[str]()
    paths = {name: folder / one.name for name, one in documents.items()}
    for name, path in paths.items():
        path.write_bytes(documents[name].data)
        said["checker"] += 1
        said["checker errors"] += len(report.check(documents[name].data))
    for number, data in enumerate(files):
        (folder / f"source-{number}.dcm").write_bytes(data)
    known = {name: path for name, path in paths.items() if name not in UNKNOWN}
    for path in known.values():
        said += _said("dciodvfy", [tools["dciodvfy"], str(path)])
    sources = [str(path) for path in sorted(folder.glob("source-*.dcm"))]
    said += _said("dcentvfy", [tools["dcentvfy"], *map(str, known.values()), *sources])
    said += _said("dsrdump", [tools["dsrdump"], str(paths["SR"])])
    return said


def _said(name: str, command: list[str]) -> Counter[str]:
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    lines = [line for line in done.stderr.decode("latin-1").splitlines() if line.strip()]
    if name == "dciodvfy":  # it also says which IOD it judges by
        lines = [line for line in lines if "Error" in line or "Warning" in line]
    told = Counter({name: 1, f"{name} errors": sum("Error" in line for line in lines)})
    for line in lines:
        why = next((part for part in ALLOWED if part in line), "")
        told[f"allowed: {why}" if why else f"{name} warnings"] += "Error" not in line
    return told
