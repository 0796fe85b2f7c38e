"""A node in service: with the models of its settings, until it is told to end."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from wetread import infer
from wetread.acquire.syntaxes import SYNTAXES
from wetread.acquire.tomography import CLASSIC
from wetread.contain.ahead import Ahead, Early, Foresee
from wetread.contain.children import Children
from wetread.contain.decoder import decoded, decoder
from wetread.contain.process import Files
from wetread.pipeline import Reader, open_reader
from wetread.records import Stored, Study
from wetread.serve import logs
from wetread.settings import Settings
from wetread.turns import Turns
from wetread.wire.access import check_exposure
from wetread.wire.credentials import check_credentials

if TYPE_CHECKING:
    from wetread.serve.node import Node

#: Files and connections that may be open at a time, if the system lets us.
DESCRIPTORS = 4096


def run(settings: Settings, on_start: Callable[[Node], None] = lambda node: None) -> None:
    """Serve with the models of the settings until SIGTERM or SIGINT; logs go to standard error.

    The models begin to load before the rest of the program does: an engine compiles them beside the interpreter.

    Parameters
    ----------
    on_start
        Called once both ports are open, for a line to people.

    Raises
    ------
    SettingsError
        A file of a secret, token, key or certificate cannot be used, or a model that is to load has no such build as
        the settings name.
    StoreError, SettingsError, ModelError, EngineError
        As `wetread.serve.node.Node.run` and `wetread.pipeline.open_reader`.
    """

    def load() -> Reader:
        reader = open_reader(settings, turns, decoder(children, ahead))
        ahead.look_with(Early(reader.foresee, lambda: turns.spare))
        children.start(children.most)  # the first one started with the node; no more while models load
        return reader

    def early(files: Files, held: list[bytes | Stored], foresee: Foresee) -> tuple[Study, ...]:
        arriving.start(settings.decode_ahead)  # from the first slices on they stay ready
        return decoded(arriving, settings, files, held, foresee)

    def ended(why: str) -> None:
        node.metrics.decoder_ended(why)

    _open_enough()
    os.umask(os.umask(0o077) | 0o007)  # what the node writes tells of patients: no other user may read it
    check_exposure(settings)  # as the node does; here before anything is loaded
    check_credentials(settings)
    if settings.build != "auto":
        for model in infer.holding(infer.find(settings.models_dir)):
            infer.check_build(model, settings.build)
    turns = Turns()
    logs.configure(settings.log_level)
    arriving = Children(replace(settings, decoders=settings.decode_ahead), ended)  # started when slices come
    with (
        Children(settings, ended) as children,
        Ahead(settings.decode_ahead) as ahead,
        closing(arriving),
        # Left first: an engine that still compiles a model while the interpreter ends aborts the process.
        ThreadPoolExecutor(1, "wetread-models") as first,
    ):
        loading = first.submit(load)
        from wetread.serve.node import Node

        ahead.decode_with(early, CLASSIC)
        node = Node(settings, loading.result, preferred=SYNTAXES, turns=turns, arrived=ahead.take)
        node.run(on_start)


def _open_enough() -> None:
    """Have room for all connections that both ports take: 1,024 files, as most systems give, they fill alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if 0 <= soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
