"""Whether an explanation deserves trust: a map that looks elsewhere than the organ does not."""

from __future__ import annotations

#: Least share of the map's mass inside the lungs.  About half of a lung-centred crop is lung, so
#: a map that lies there by chance scores about this much.
BOUND = 0.5


def sentence(share: float, bound: float, organ: str) -> str:
    """What to tell a clinician about a map."""
    if share <= 0.0:
        return "The map holds no evidence for this finding."
    where = f"{share:.0%} of the heat map lies inside the {organ}"
    if share >= bound:
        return f"{where}."
    return (
        f"Do not trust this explanation: only {where} (at least {bound:.0%} expected). "
        "The answer may rest on something else than the lungs, such as a marker, a device or the border."
    )
