"""The site's rules: what reads a series, in which lane, where the results go, as which documents.

A rule has conditions, which must all hold, and consequences.  The rules are tried in their order; of each
consequence by itself the first rule counts that fits and says it.  So a rule may be short: what it does not say
is left to the rules below it, and in the end to the settings.

Conditions on text are patterns as in `fnmatch`: `*`, `?` and `[abc]`, in either case.
"""

from wetread.routes.alerts import Alert, alerts_of, is_hook
from wetread.routes.burned import BurnedIn, burned_in_of
from wetread.routes.decision import UNROUTED, Decision, decide, named_models, shadowed
from wetread.routes.keys import check_keys
from wetread.routes.rule import LANES, PATTERNS, Check, Facts, Route, fits
from wetread.routes.table import rule_of

__all__ = [
    "LANES",
    "PATTERNS",
    "UNROUTED",
    "Alert",
    "BurnedIn",
    "Check",
    "Decision",
    "Facts",
    "Route",
    "alerts_of",
    "burned_in_of",
    "check_keys",
    "decide",
    "fits",
    "is_hook",
    "named_models",
    "rule_of",
    "shadowed",
]
