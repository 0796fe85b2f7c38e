"""One node: a DICOM port, the jobs behind it, and an HTTP port."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable, Container
from contextlib import ExitStack, suppress
from pathlib import Path

from starlette.routing import BaseRoute

from wetread.contain.viewer import Viewer
from wetread.errors import SettingsError, StoreError, WetreadError
from wetread.jobs import failpoints
from wetread.jobs.lanes import deadlines_s
from wetread.jobs.runner import Arrived, Runner
from wetread.jobs.store import Store
from wetread.jobs.worker import Reader
from wetread.memory import keep_freed
from wetread.serve import dicomweb, fhir, review, stow, viewer
from wetread.serve.channels import Channels
from wetread.serve.http import HttpServer, application
from wetread.serve.metrics import Metrics
from wetread.settings import Settings
from wetread.trace import Span
from wetread.turns import Turns
from wetread.wire import mllp_listen
from wetread.wire.access import check_exposure
from wetread.wire.dimse import Listener
from wetread.wire.tls import Files, Rotating

log = logging.getLogger("wetread.serve")

GRACE_S = 10.0
#: How long a stop waits for models that are still loading, seconds.
LOADING_S = 60.0


class Node:
    """Takes studies by C-STORE, has them read, and sends the results on.

    Parameters
    ----------
    settings
        The configuration.
    load
        Loads the models and returns the reader; called in a thread of its own as soon as the node starts, so that
        models load while the store and the ports open, and objects are taken before they are loaded.
    failpoint
        See `wetread.jobs.failpoints`.
    preferred
        Transfer syntaxes to choose where a peer offers several for one class.
    turns
        What the reader pauses by; its own where it never does.
    arrived
        Told of each new object of a study that will be read.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Reader],
        failpoint: failpoints.Failpoint = failpoints.none,
        preferred: Container[str] = (),
        turns: Turns | None = None,
        arrived: Arrived | None = None,
    ) -> None:
        self.settings = settings
        self._arrived = arrived
        self.metrics = Metrics(self._told)
        self.failure: Exception | None = None  # why the models did not load
        self._load = load
        self._failpoint = failpoint
        self._preferred = preferred
        self._turns = turns or Turns()
        self._take_span: Callable[[Span], None] = lambda span: None
        self._loaded = False
        self._opened = threading.Event()  # the store and both ports are open, or will never be
        self._settled = threading.Event()  # loaded, or failed to load
        self._over = False
        self._wake: socket.socket | None = None  # a byte into it lets `run` end
        self._stopped = False
        self._loading = threading.Thread(target=self._load_models, name="wetread-load", daemon=True)
        self.port = settings.port
        self.http_port = settings.http_port

    def start(self) -> None:
        """Begin to load the models, open the store, then both ports; does not wait for the models.

        A start that fails does, once it has said so: an engine that still compiles a model while the interpreter ends
        aborts the process.

        Raises
        ------
        StoreError
            The store cannot promise durability.
        SettingsError
            A port cannot be bound, or strangers could reach it, or what sends spans is not installed.
        """
        check_exposure(self.settings)
        keep_freed()  # before the threads that this starts
        self._loading.start()
        try:
            self._open()
        except BaseException as error:
            if isinstance(error, WetreadError):  # said now: the models may still load for long
                log.error("not started", extra={"reason": str(error)})
            self._end()
            self._opened.set()
            self._loading.join(LOADING_S)
            raise
        self._opened.set()
        log.info("listening", extra={"port": self.port})

    def _open(self) -> None:
        """Open the store, then both ports."""
        settings = self.settings
        with ExitStack() as undo:  # what was opened is closed again if the rest cannot be
            self.store = Store(
                settings.state_dir,
                failpoint=self._failpoint,
                url=settings.index_url,
                lease_s=settings.lease_s,
                deadlines=deadlines_s(settings),
            )
            undo.callback(self.store.close)
            self._stop_tracing = self._trace()
            undo.callback(self._stop_tracing)
            self._runner = Runner(self.store, settings, self.metrics, turns=self._turns)
            self._listener = Listener(
                settings,
                self._runner.receive,
                self._runner.association_ended,
                self.metrics.answered,
                self._preferred,
                self.metrics.turned_away,
                self._runner.hear,
                self.metrics.span,
            )
            self._orders = mllp_listen.Listener(settings, self._runner.ordering.take, self.metrics.cut_off)
            self.metrics.observe(self.store, lambda: self.ready, lambda: self._listener.associations)
            self._viewer = Viewer(settings)
            undo.callback(self._viewer.close)
            self._taking = stow.Store(
                settings, self._runner.receive, self._runner.association_ended, self.metrics.answered
            )
            self._channels = Channels(self.store.subscriptions, self.store.shared)
            self.store.worklist.told.append(self._channels.wake)
            web = dicomweb.application(self.store, self._viewer, self._taking, settings, self._channels)
            shown: list[BaseRoute] = [*fhir.mounted(self.store.resources, settings)]
            shown += review.routes(self.store.reviews, self._viewer, settings)
            shown += viewer.routes(settings.viewer) if settings.viewer != Path() else ()
            app = application(self.store, self.metrics, self.missing, lambda: self._runner.strain.steps, web, shown)
            self._http = HttpServer(
                app, settings.http_host, settings.http_port, _certificates(settings), settings.idle_timeout_s
            )
            undo.callback(self._http.stop)
            self._http.start()
            self._runner.start()
            undo.callback(self._runner.stop)
            self._listener.start()
            undo.callback(self._listener.stop)
            if settings.hl7_port:
                self._orders.start()
            undo.pop_all()
        self.port, self.http_port = self._listener.port, self._http.port

    def _trace(self) -> Callable[[], None]:
        """Send spans to the collector of the settings, if there is one; return what ends that."""
        if not self.settings.otlp_endpoint:
            return lambda: None
        try:
            from wetread.serve.tracing import Collector  # costs time and memory: only where it is wanted
        except ImportError as error:
            raise SettingsError(
                f"otlp_endpoint: {error.name} is not installed; pip install 'wetread[tracing]'"
            ) from error
        collector = Collector(self.settings.otlp_endpoint, self.metrics.spans_dropped)
        self._take_span = collector.take
        return collector.stop

    def _told(self, span: Span) -> None:
        self._take_span(span)

    def _load_models(self) -> None:
        try:
            reader = self._load()
        except Exception as error:  # noqa: BLE001 - reported by `missing`, `run` and the log
            self.failure = error
            log.error("models not loaded", extra={"reason": type(error).__name__})
            self._end()
            self._settled.set()
            return
        self._opened.wait()
        if self._over:  # stopped, or never open
            self._settled.set()
            return
        self._runner.read_with(reader, self._arrived)
        self._loaded = True
        self._settled.set()
        log.info("ready")

    @property
    def ready(self) -> bool:
        """Whether models are loaded and the store is open."""
        return not self.missing()

    def missing(self) -> str:
        """Return what keeps the node from being ready, or ""."""
        if self._over:
            return "models failed to load" if self.failure else "stopping"
        return "" if self._loaded else "models are loading"

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for the models; return whether the node is ready."""
        self._settled.wait(timeout_s)
        return self.ready

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Take no more objects, finish what is in hand, close the store; a second call does nothing."""
        self._end()
        if self._stopped:
            return
        self._stopped = True
        self._orders.stop(grace_s / 2)
        self._listener.stop(grace_s / 2)
        # An engine that still compiles a model while the interpreter ends aborts the process.
        if self._loading.is_alive():
            self._loading.join(LOADING_S)
        self._taking.close()
        self._runner.stop(grace_s / 2)
        self._channels.close()
        self._http.stop()
        self._viewer.close()
        try:
            self.store.close()
        except StoreError as error:
            log.error("store not closed", extra={"reason": str(error)})
        self._stop_tracing()
        log.info("stopped")

    def _end(self) -> None:
        self._over = True
        if self._wake is not None:
            with suppress(OSError):  # full: it was told often enough; closed: it has ended
                self._wake.send(b"\0")

    def run(self, on_start: Callable[[Node], None] = lambda node: None) -> None:
        """Serve until SIGTERM or SIGINT; call it from the main thread.

        A signal is a byte that the interpreter writes, in whatever thread it comes.  A handler in Python would wait
        until the main thread runs again, which may be never: it is asleep, or holds the lock that the handler wants.

        Parameters
        ----------
        on_start
            Called once both ports are open, for a line to people.

        Raises
        ------
        StoreError, SettingsError
            As `start`.
        Exception
            What the loading of the models raised.
        """
        woken, self._wake = socket.socketpair()
        with woken, self._wake:
            self._wake.setblocking(False)
            signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
            try:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, lambda _number, _frame: None)
                self.start()
                on_start(self)
                woken.recv(1)
            finally:
                signal.set_wakeup_fd(-1)
            self.stop()
        if self.failure is not None:
            raise self.failure


def _certificates(settings: Settings) -> Rotating | None:
    """Those of the HTTP port."""
    files = Files.of(settings) if settings.http_tls else None
    return Rotating(files, anonymous=settings.http_tls == "server") if files else None
