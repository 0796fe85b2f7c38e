"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from wetread.infer.engine import installed


def machine() -> str:
    """What the figures were measured on, in words."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    extras = [name for name in ("avx2", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16") if name in flags.split()]
    engines = ", ".join(f"{name} {number}" for name, number in installed().items())
    processor = f"{os.cpu_count()} cores, {platform.machine()} ({', '.join(extras)})"
    return f"{processor}, Python {platform.python_version()}, {engines}"
