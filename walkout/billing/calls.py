"""How calls are answered: parsing, permissions, deadlines, status codes with details, request ids, metrics.

A request that is no message of ours is answered INVALID_ARGUMENT, anything nobody thought of INTERNAL; the process
lives on. The status codes are documented in ``protos/walkout/v1/billing.proto``.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import grpc
import sqlalchemy as sa
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry, Counter, Histogram

from walkout.billing.security import LOCAL, may_call
from walkout.billing.service import BillingService
from walkout.errors import (
    BadRequest,
    BillingError,
    BillingUnavailable,
    ConflictError,
    EventsMissing,
    IllegalMove,
    NotFoundError,
    PermissionDenied,
    WalkoutError,
)
from walkout.v1 import billing_pb2 as pb

log = logging.getLogger(__name__)

SERVICE = "walkout.v1.Billing"
#: Trailing metadata key that names the error's class.
ERROR_KEY = "walkout-error"
#: Metadata key of the request's id, both ways.
REQUEST_KEY = "x-request-id"
#: Trailing metadata key of ``google.rpc.Status`` (gRPC's richer error model).
_DETAILS_KEY = "grpc-status-details-bin"

_CODES: dict[type[WalkoutError], grpc.StatusCode] = {
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    EventsMissing: grpc.StatusCode.FAILED_PRECONDITION,
    IllegalMove: grpc.StatusCode.FAILED_PRECONDITION,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    BillingError: grpc.StatusCode.FAILED_PRECONDITION,
    BillingUnavailable: grpc.StatusCode.UNAVAILABLE,
}
#: Longest text of an error. It travels twice in headers, 8 KiB by default: as text, in which a Korean letter takes 9
#: bytes, and in the details, in which it takes 4.
_LONGEST_ERROR = 400
#: When to come back after UNAVAILABLE, told to the caller; a restarted service answers within two seconds.
_RETRY_S = 1


class _Status(NamedTuple):
    """What ``context.abort_with_status`` wants."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


class Metrics:
    """Counters of calls by name and status, and how long they took; in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter("walkout_billing_calls", "Calls answered", ("call", "code"), registry=self.registry)
        self._seconds = Histogram(
            "walkout_billing_call_seconds", "Time to the answer", ("call",), registry=self.registry
        )

    def count(self, call: str, code: str, seconds: float) -> None:
        """One call was answered."""
        self._calls.labels(call, code).inc()
        self._seconds.labels(call).observe(seconds)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call being answered."""

    name: str
    caller: str
    request_id: str
    context: grpc.ServicerContext
    started_s: float


class Calls:
    """Turns the methods of a service into gRPC handlers."""

    def __init__(self, service: BillingService, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """Handlers that parse requests themselves: gRPC would answer bytes that are no message with INTERNAL."""
        makers: dict[tuple[bool, bool], tuple[Callable[..., Any], Callable[..., Any]]] = {
            (False, False): (self._unary, grpc.unary_unary_rpc_method_handler),
            (True, False): (self._client_stream, grpc.stream_unary_rpc_method_handler),
            (False, True): (self._server_stream, grpc.unary_stream_rpc_method_handler),
        }
        found = {}
        for method in pb.DESCRIPTOR.services_by_name["Billing"].methods:
            wrap, handler = makers[(method.client_streaming, method.server_streaming)]
            answer = wrap(method.name, self._service.method(method.name), getattr(pb, method.input_type.name))
            found[method.name] = handler(answer, response_serializer=_to_bytes)
        return grpc.method_handlers_generic_handler(SERVICE, found)

    def _unary(self, name: str, answer: Callable[[Any], Message], request_class: Any) -> Callable[..., Message]:
        def handle(data: bytes, context: grpc.ServicerContext) -> Message:
            call = self._begin(name, context)
            try:
                self._admit(call)
                found = answer(_parse(request_class, data))
            except Exception as error:  # the worker's edge
                self._refuse(call, error)
            self._end(call, grpc.StatusCode.OK)
            return found

        return handle

    def _client_stream(self, name: str, answer: Callable[[Any], Message], request_class: Any) -> Callable[..., Message]:
        def handle(stream: Iterator[bytes], context: grpc.ServicerContext) -> Message:
            call = self._begin(name, context)
            try:
                self._admit(call)
                found = answer(_parse(request_class, data) for data in stream)
            except Exception as error:  # the worker's edge
                self._refuse(call, error)
            self._end(call, grpc.StatusCode.OK)
            return found

        return handle

    def _server_stream(
        self, name: str, answer: Callable[[Any, Callable[[], bool]], Iterator[Message]], request_class: Any
    ) -> Callable[..., Iterator[Message]]:
        def handle(data: bytes, context: grpc.ServicerContext) -> Iterator[Message]:
            call = self._begin(name, context)
            try:
                self._admit(call)
                yield from answer(_parse(request_class, data), context.is_active)
            except Exception as error:  # the worker's edge
                self._refuse(call, error)
            self._end(call, grpc.StatusCode.OK)

        return handle

    def _begin(self, name: str, context: grpc.ServicerContext) -> _Call:
        sent = dict(context.invocation_metadata() or ())
        request_id = str(sent.get(REQUEST_KEY, ""))[:64] or uuid.uuid4().hex
        names: Any = context.auth_context().get("x509_common_name", ())
        caller = names[0].decode(errors="replace") if names else LOCAL
        context.set_trailing_metadata(((REQUEST_KEY, request_id),))
        return _Call(name, caller, request_id, context, time.monotonic())

    def _admit(self, call: _Call) -> None:
        """Only whom the table lets, and only while somebody waits for the answer."""
        if not may_call(call.caller, call.name):
            raise PermissionDenied(
                f"{call.caller} may not call {call.name}; see the table in walkout/billing/security.py"
            )
        left_s = call.context.time_remaining()
        if left_s is not None and left_s <= 0:
            raise TimeoutError("the caller's deadline had passed before we began")

    def _end(self, call: _Call, code: grpc.StatusCode) -> None:
        seconds = time.monotonic() - call.started_s
        self._metrics.count(call.name, code.name, seconds)
        level = logging.DEBUG if code is grpc.StatusCode.OK else logging.INFO
        log.log(level, "%s %s by %s: %s in %.1f ms", call.request_id, call.name, call.caller, code.name, seconds * 1e3)

    def _refuse(self, call: _Call, error: Exception) -> NoReturn:
        """Answer with the status that the table names; only what nobody expected is logged with its traceback."""
        if isinstance(error, grpc.RpcError):
            self._end(call, grpc.StatusCode.CANCELLED)
            raise error  # the caller went away in the middle of its stream
        code, name, words = _status_of(error)
        if code is grpc.StatusCode.INTERNAL:
            log.error("%s %s failed for a reason nobody expected", call.request_id, call.name, exc_info=error)
        self._end(call, code)
        status = status_pb2.Status(code=code.value[0], message=words)
        status.details.extend(_details(code, name, words, call.request_id))
        trailing = ((REQUEST_KEY, call.request_id), (ERROR_KEY, name), (_DETAILS_KEY, status.SerializeToString()))
        call.context.abort_with_status(_Status(code, words, trailing))  # type: ignore[arg-type]
        raise AssertionError("abort always raises")


def _status_of(error: Exception) -> tuple[grpc.StatusCode, str, str]:
    """Code, name of the error's class, and what the caller may read of it."""
    if isinstance(error, TimeoutError):
        return grpc.StatusCode.DEADLINE_EXCEEDED, "BillingUnavailable", str(error)
    if isinstance(error, sa.exc.OperationalError | sa.exc.TimeoutError):
        error = BillingUnavailable(
            f"the books do not answer ({getattr(error, 'orig', error)}); make the same call again"
        )
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind], type(error).__name__, str(error)[:_LONGEST_ERROR]
    return grpc.StatusCode.INTERNAL, "BillingError", f"{type(error).__name__}: see the log of the billing service"


def _details(code: grpc.StatusCode, name: str, words: str, request_id: str) -> list[any_pb2.Any]:
    """The parts of google.rpc's error model that a caller can act on."""
    parts: list[Message] = [
        error_details_pb2.ErrorInfo(reason=name, domain="walkout"),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    field, colon, _ = words.partition(":")
    if code is grpc.StatusCode.INVALID_ARGUMENT and colon and field.replace("_", "").isalnum():
        violation = error_details_pb2.BadRequest.FieldViolation(field=field)
        parts.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if code is grpc.StatusCode.UNAVAILABLE:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = _RETRY_S
        parts.append(retry)
    packed = []
    for part in parts:
        packed.append(any_pb2.Any())
        packed[-1].Pack(part)
    return packed


def _to_bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _parse(request_class: Any, data: bytes) -> Any:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        raise BadRequest(f"{len(data)} bytes that are no {request_class.__name__}: {error}") from error
