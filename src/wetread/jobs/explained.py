"""What the site's rules decide for a study, and why: for the person who writes them.

The answer holds descriptions as they stand in the header; it is for the screen, not for a log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wetread import acquire, infer
from wetread.errors import NotRead
from wetread.jobs.addressing import destination_kinds
from wetread.jobs.lanes import lane_of
from wetread.records import Image, Rejected, Sender, Study
from wetread.routes import Decision, Facts, Route, decide
from wetread.settings import Settings

Row = dict[str, Any]


def explained(studies: Iterable[Study], settings: Settings, senders: Mapping[str, Sender] | Sender) -> list[Row]:
    """Return one row a film, series or refused instance: facts, rules, and what comes of them.

    Parameters
    ----------
    senders
        By SOP Instance UID, or one for all.
    """
    models = [model for model in infer.find(settings.models_dir) if any(build.certified for build in model.builds)]
    items: list[Image | Rejected] = []
    for study in studies:
        items += [*study.images, *study.rejected]
    return [_row(item, models, settings, senders) for item in items]


def _row(
    item: Image | Rejected,
    models: Sequence[infer.Model],
    settings: Settings,
    senders: Mapping[str, Sender] | Sender,
) -> Row:
    facts = acquire.facts_of(item, {} if isinstance(senders, Sender) else senders)
    if isinstance(senders, Sender):
        facts = dataclasses.replace(facts, calling_ae=senders.calling_ae, called_ae=senders.called_ae, at=senders.at)
    decision = decide(settings.routes, facts)
    return {
        "source": item.source,
        "facts": {name: value for name, value in dataclasses.asdict(facts).items() if value},
        "lane": lane_of(facts, settings.routes).name,
        **_reading(item, models, decision),
        "destinations": [
            {"name": name, "documents": list(kinds)} for name, kinds in destination_kinds(settings, decision).items()
        ],
        "decided": {said: rule.label for said, rule in decision.by.items()},
        "rules": list(_tried(settings.routes, facts, decision)),
    }


def _reading(item: Image | Rejected, models: Sequence[infer.Model], decision: Decision) -> Row:
    """Which models would read it, which would not and why, or the refusal that comes."""
    if isinstance(item, Rejected):
        return {"models": [], "not_read": [], "refusal": dataclasses.asdict(item.refusal)}
    try:
        chosen = infer.permitted(models, item, decision)
    except NotRead as error:
        return {"models": [], "not_read": [], "refusal": _told(error)}
    reads, unread = [], []
    for model in chosen:
        try:
            infer.check_fit(model, item)
            reads.append(model.id)
        except NotRead as error:
            unread.append({"model": model.id, **_told(error)})
    refusal = {key: unread[0][key] for key in ("code", "sentence", "detail")} if not reads else None
    return {"models": reads, "not_read": unread, "refusal": refusal}


def _told(error: NotRead) -> Row:
    return {"code": error.code, "sentence": error.sentence, "detail": error.detail}


def _tried(rules: Sequence[Route], facts: Facts, decision: Decision) -> Iterator[Row]:
    """Each rule with its conditions, and which of its consequences count."""
    for rule in rules:
        checks = list(rule.checks(facts))
        yield {
            "rule": rule.label,
            "fits": all(check.held for check in checks),
            "says": list(rule.says),
            "counts": [said for said in rule.says if decision.by.get(said) is rule],
            "conditions": [dataclasses.asdict(check) for check in checks],
        }
