"""Wetread: an AI wet read for X-ray, CT and MRI studies, where clinicians work.

Decision support for research and evaluation; not a certified medical device.
"""

from __future__ import annotations

__version__ = "0.1.0"
