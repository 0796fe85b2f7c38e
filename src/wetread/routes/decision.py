"""What the rules say together, and what of them can never count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wetread.routes.rule import Facts, Route


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say of one series: each consequence with the rule that decided it."""

    by: Mapping[str, Route] = field(default_factory=dict)  # as `Route.says`; what no rule says is not there

    @property
    def lane(self) -> str:
        """One of `LANES`, "" where no rule says one."""
        return self.by["lane"].lane if "lane" in self.by else ""

    @property
    def models(self) -> tuple[str, ...] | None:
        """The models that may read; None: all but `models_not`."""
        return self.by["models"].models if "models" in self.by else None

    @property
    def models_not(self) -> tuple[str, ...]:
        """The models that may not read."""
        return (self.by["models"].models_not or ()) if "models" in self.by else ()

    @property
    def priors(self) -> int:
        """How many earlier studies stand beside the new one, where they are known."""
        return (self.by["priors"].priors or 0) if "priors" in self.by else 0

    @property
    def priors_days(self) -> int:
        """How many days old they may be; 0: of any age."""
        return self.by["priors"].priors_days if "priors" in self.by else 0

    @property
    def priors_wait_s(self) -> int:
        """How long a study may wait for them, s."""
        return self.by["priors"].priors_wait_s if "priors" in self.by else 0

    def permits(self, model: str) -> bool:
        """Whether a model may read."""
        return model not in self.models_not and (self.models is None or model in self.models)

    def goes_to(self, *names: str) -> bool:
        """Whether results go to the destination that has these names."""
        rule = self.by.get("destinations")
        return rule is None or any(name in (rule.destinations or ()) for name in names)

    def documents(self, *names: str) -> tuple[str, ...] | None:
        """Return the kinds that the destination with these names gets; None where no rule says so."""
        for name in names:
            if rule := self.by.get(f"documents {name}"):
                return rule.documents[name]
        return None


#: No rule says anything.
UNROUTED = Decision()


def decide(rules: Sequence[Route], facts: Facts) -> Decision:
    """Return what the first rules say that fit, of each consequence by itself."""
    by: dict[str, Route] = {}
    for rule in rules:
        if rule.fits(facts):
            by = {**dict.fromkeys(rule.says, rule), **by}
    return Decision(by)


def shadowed(rules: Sequence[Route]) -> Iterator[tuple[Route, str, Route]]:
    """Yield each consequence that never counts: its rule, what it says, and the rule above that always says it."""
    for place, rule in enumerate(rules):
        for said in rule.says:
            above = (one for one in rules[:place] if said in one.says and one.covers(rule))
            if (first := next(above, None)) is not None:
                yield rule, said, first


def named_models(rules: Sequence[Route]) -> Iterator[tuple[Route, str]]:
    """Yield each model that a rule names."""
    for rule in rules:
        yield from ((rule, model) for model in (*(rule.models or ()), *(rule.models_not or ())))
