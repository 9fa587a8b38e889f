"""The billing server: bound to its address, swept on schedule, drained when it is asked to go."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import sqlalchemy as sa
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from walkout.billing.calls import SERVICE, Calls, Metrics
from walkout.billing.database import claim_books, open_books
from walkout.billing.provider import PROVIDERS, PaymentProvider
from walkout.billing.security import Certificate
from walkout.billing.service import MOST_WATCHERS, BillingService
from walkout.billing.settle import Settler
from walkout.billing.together import MOST_TOGETHER
from walkout.billing.webhooks import Webhooks, serving_webhooks
from walkout.domain.clock import Clock
from walkout.errors import SettingsError

log = logging.getLogger(__name__)

#: Calls served at once besides watchers: as many as the clients of the benchmark, for most wait for a commit or the
#: provider, and only calls that are there together can share a transaction.
_THREADS = 32
#: Seconds that calls in flight get when the service is told to stop.
_GRACE_S = 5.0
#: The sweep looks for what is not final this often; pauses of a charge are counted in seconds.
_SWEEP_S = 1.0
#: Largest message taken: a bulk upsert of some ten thousand products, sent in pieces if there are more.
LARGEST_MESSAGE = 4 * 1024 * 1024


class RunningServer:
    """A bound and started service; ``stop`` drains it."""

    def __init__(self, server: grpc.Server, service: BillingService, checks: health.HealthServicer) -> None:
        self._server = server
        self._service = service
        self._checks = checks
        self._sweeper = threading.Thread(target=self._sweep, name="sweep", daemon=True)
        self._sweeper.start()

    @property
    def settler(self) -> Settler:
        """What settles; webhooks drive charges on through the same one."""
        return self._service.settler

    def stop(self, grace_s: float | None = _GRACE_S) -> threading.Event:
        """Say so to health checks, refuse new calls, let those in flight end; set when they have."""
        self._checks.enter_graceful_shutdown()
        self._service.stop()
        ended = self._server.stop(grace_s)
        ended.wait()
        self._sweeper.join()
        return ended

    def _sweep(self) -> None:
        while not self._service.stopping.wait(_SWEEP_S):
            try:
                self._service.settler.sweep()
            except Exception:  # the worker's edge
                log.exception("the sweep failed; it is tried again in %s s", _SWEEP_S)


def start_server(
    engine: sa.Engine,
    provider: PaymentProvider,
    clock: Clock,
    address: str,
    certificate: Certificate | None = None,
    together: int = MOST_TOGETHER,
    metrics_port: int | None = None,
) -> tuple[RunningServer, str]:
    """A running server and the address it got; finishes what a crash left on its way before it takes calls.

    ``address`` is ``unix:/path`` (readable by this user only) or ``127.0.0.1:port`` (0: any free port); with a
    ``certificate`` any ``host:port``, and every caller needs one too. Raises ``SettingsError`` for an address that
    cannot be bound or that others could reach without certificates. The caller stops the server. Start it in a
    fresh process, never in a fork of one that has used gRPC. Metrics are served on the loopback address only.
    """
    if certificate is None and not address.startswith(("unix:", "127.0.0.1:")):
        raise SettingsError(
            f"billing address {address!r}: write unix:/path or 127.0.0.1:port; others can be reached from outside and"
            " need certificates"
        )
    service = BillingService(engine, provider, clock, together)
    settled = service.settler.sweep(all_at_once=True)
    if settled:
        log.warning("%d visits that a crash had left on their way are settled", settled)
    # Without so_reuseport a second service on the same port is refused instead of sharing its calls.
    options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", LARGEST_MESSAGE))
    server = grpc.server(ThreadPoolExecutor(_THREADS + MOST_WATCHERS, "billing"), options=options)
    metrics = Metrics()
    server.add_generic_rpc_handlers((Calls(service, metrics).handlers(),))
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = _bind(server, address, certificate)
    server.start()
    for name in ("", SERVICE):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    if metrics_port is not None:
        start_http_server(metrics_port, "127.0.0.1", metrics.registry)
    running = RunningServer(server, service, checks)
    if address.startswith("unix:"):
        os.chmod(address.removeprefix("unix:"), 0o600)
        return running, address
    return running, f"{address.rpartition(':')[0]}:{port}"


def _bind(server: grpc.Server, address: str, certificate: Certificate | None) -> int:
    try:
        if certificate is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, certificate.server_credentials())
    except RuntimeError as error:
        raise SettingsError(f"billing address {address!r} cannot be bound; is another service on it?") from error


def serve(
    database_url: str,
    address: str,
    clock: Clock,
    provider: str = "wallet",
    stop: threading.Event | None = None,
    webhook_port: int | None = None,
) -> None:
    """Serve billing until ``stop`` is set; without one, until SIGTERM or SIGINT (main thread only).

    With ``webhook_port`` the provider's webhooks are taken there, on this machine only (``webhooks``). Raises
    ``SettingsError`` for an address, database or provider name that cannot be used.
    """
    if provider not in PROVIDERS:
        raise SettingsError(f"provider: no {provider!r}; choose one of {', '.join(PROVIDERS)}")
    engine = open_books(database_url)
    run(engine, PROVIDERS[provider](engine, clock), address, clock, stop, webhook_port=webhook_port)


def run(
    engine: sa.Engine,
    provider: PaymentProvider,
    address: str,
    clock: Clock,
    stop: threading.Event | None = None,
    together: int = MOST_TOGETHER,
    webhook_port: int | None = None,
) -> None:
    """``serve`` over books and a provider that are already there."""
    wait = _until_signal() if stop is None else stop.wait
    claim = claim_books(engine)
    running, _ = start_server(engine, provider, clock, address, together=together)
    with ExitStack() as beside:
        if webhook_port is not None:
            takes = Webhooks(engine, provider, running.settler, clock).receive
            beside.enter_context(serving_webhooks({provider.name: takes}, webhook_port))
        wait()
    running.stop()
    if claim is not None:
        claim.close()
    engine.dispose()


def _until_signal() -> Callable[[], object]:
    """What to call to wait for SIGTERM or SIGINT, which are noted from now on.

    Signals come through a pipe. A lock (``Event.wait``, a queue) would miss one that arrives just before the main
    thread falls asleep on it: Python runs handlers in the main thread only, and nothing would wake it.
    """
    ours = {signal.SIGTERM, signal.SIGINT}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in ours:
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        while os.read(reader, 1)[0] not in ours:
            pass

    return wait
