"""A card processor of our own, shaped after Stripe's published API (https://docs.stripe.com/api), spoken to over HTTP.

It keeps what those who test with it need and real ones do: idempotency keys with their parameters and saved answers
(failures of its own included), declines by card, holds that expire, signed events that are sent late, twice and out
of order; and it fails on demand. ``faults`` is consumed one word per POST:

=============  ======================================================================
ok             does what it was asked
lost           the connection breaks before anything happened
late           it happens, then the connection breaks
500            a failure of its own before anything happened, saved under the key
500_after      it happens, then a failure of its own is saved under the key
429, 409       busy; nothing happened, nothing saved
slow           answers after ``slow_s``
lie            takes or gives back one unit less than it was asked
garbage        answers something that is no JSON
=============  ======================================================================
"""

import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "sk_test_walkout"
SECRET = "whsec_walkout"
#: Cards that say no, and with which code (https://docs.stripe.com/testing).
DECLINES = {
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", ""),
    "pm_card_authenticationRequired": ("authentication_required", "authentication_required"),
}
#: A card whose bank does not let a hold grow.
NO_INCREMENT = "pm_card_no_increment"


class Refused(Exception):
    """An answer that is an error: HTTP status and Stripe's error object."""

    def __init__(self, status: int, kind: str, message: str, code: str = "", decline: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, "code": code or None, "decline_code": decline or None}}


@dataclass
class Psp:
    """What it knows. ``now_s`` is its clock; ``events`` wait to be sent, oldest first."""

    now_s: int = 1_800_000_000
    faults: list[str] = field(default_factory=list)
    slow_s: float = 0.0
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    saved: dict[str, tuple[str, int, dict[str, Any]]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    url: str = ""
    lock: Any = field(default_factory=threading.RLock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def captured_minor(self) -> int:
        """All that was ever taken."""
        return sum(intent["amount_received"] for intent in self.intents.values())

    def refunded_minor(self) -> int:
        """All that was ever given back."""
        return sum(refund["amount"] for refund in self.refunds.values())

    def held_minor(self) -> int:
        """All that is on hold now."""
        return sum(i["amount"] for i in self.intents.values() if i["status"] == "requires_capture")

    def expire(self, intent_id: str) -> None:
        """Seven days pass over a hold."""
        self.intents[intent_id].update(status="canceled", cancellation_reason="automatic", amount_capturable=0)
        self.tell("payment_intent.canceled", self.intents[intent_id])

    def forget_keys(self) -> None:
        """A day passes over all keys."""
        self.saved.clear()

    def tell(self, kind: str, thing: dict[str, Any]) -> None:
        """Put an event into the queue."""
        event = {"id": f"evt_{next(self.numbers)}", "object": "event", "type": kind, "created": self.now_s}
        self.events.append({**event, "data": {"object": json.loads(json.dumps(thing))}, "livemode": False})

    def dispute(self, intent_id: str, status: str = "needs_response") -> None:
        """The bank of the card takes the shopper's side for now, or decides."""
        intent = self.intents[intent_id]
        kind = "charge.dispute.created" if status == "needs_response" else "charge.dispute.closed"
        thing = {"id": f"dp_{intent_id}", "object": "dispute", "amount": intent["amount_received"], "status": status}
        self.tell(kind, {**thing, "currency": intent["currency"], "payment_intent": intent_id, "metadata": {}})

    def signed(
        self, event: dict[str, Any], secret: str = SECRET, at_s: int | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of an event as they come over the wire."""
        body = json.dumps(event).encode()
        seconds = self.now_s if at_s is None else at_s
        digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
        return {"Stripe-Signature": f"t={seconds},v1={digest}", "Content-Type": "application/json"}, body

    def post(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """What a POST does; raises ``Refused``."""
        match path.strip("/").split("/")[1:]:
            case ["payment_intents"]:
                return self._create(params)
            case ["payment_intents", name, step]:
                intent = self._intent(name)
                steps = {"capture": self._capture, "confirm": self._confirm, "cancel": self._cancel}
                steps["increment_authorization"] = self._increment
                return steps[step](intent, params)
            case ["refunds"]:
                return self._refund(params)
        raise Refused(404, "invalid_request_error", f"no such path: {path}")

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """What a GET answers."""
        match path.strip("/").split("/")[1:]:
            case ["payment_intents"]:
                mine = [one for one in self.intents.values() if one["customer"] == query.get("customer")]
                return _page("/v1/payment_intents", mine[::-1], query)
            case ["payment_intents", name]:
                return self._intent(name)
            case ["refunds"]:
                mine = [one for one in self.refunds.values() if one["payment_intent"] == query.get("payment_intent")]
                return _page("/v1/refunds", mine[::-1], query)
        raise Refused(404, "invalid_request_error", f"no such path: {path}")

    def _intent(self, name: str) -> dict[str, Any]:
        if name not in self.intents:
            raise Refused(404, "invalid_request_error", f"No such payment_intent: '{name}'", "resource_missing")
        return self.intents[name]

    def _create(self, params: dict[str, Any]) -> dict[str, Any]:
        amount = int(params["amount"])
        if params["currency"] == "usd" and amount < 50:
            raise Refused(400, "invalid_request_error", "Amount must be at least $0.50 usd", "amount_too_small")
        manual = params.get("capture_method") == "manual"
        kinds = list(params["payment_method_types"].values())
        if manual and set(kinds) & {"alipay", "wechat_pay"}:
            raise Refused(400, "invalid_request_error", f"{kinds} cannot be captured manually")
        name = f"pi_{next(self.numbers)}"
        intent = {
            "id": name,
            "object": "payment_intent",
            "amount": amount,
            "amount_received": 0,
            "amount_capturable": 0,
            "currency": params["currency"],
            "customer": params["customer"],
            "payment_method": params["payment_method"],
            "payment_method_types": kinds,
            "capture_method": "manual" if manual else "automatic_async",
            "cancellation_reason": None,
            "status": "requires_confirmation",
            "metadata": params.get("metadata", {}),
            "created": self.now_s,
        }
        self.intents[name] = intent
        return self._confirm(intent, params) if params.get("confirm") == "true" else intent

    def _confirm(self, intent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        if intent["status"] != "requires_confirmation":
            raise _unexpected(intent, "confirm")
        if intent["payment_method"] in DECLINES:
            intent["status"] = "requires_payment_method"
            self.tell("payment_intent.payment_failed", intent)
            raise Refused(402, "card_error", "Your card was declined.", *DECLINES[intent["payment_method"]])
        if intent["payment_method_types"] == ["wechat_pay"] and params.get("off_session") == "true":
            intent["status"] = "requires_action"
            return intent
        if intent["capture_method"] == "manual":
            intent.update(status="requires_capture", amount_capturable=intent["amount"])
            self.tell("payment_intent.amount_capturable_updated", intent)
        else:
            intent.update(status="succeeded", amount_received=intent["amount"])
            self.tell("payment_intent.succeeded", intent)
        return intent

    def _capture(self, intent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        if intent["status"] != "requires_capture":
            raise _unexpected(intent, "capture")
        amount = int(params.get("amount_to_capture", intent["amount"]))
        if amount > intent["amount"]:
            raise Refused(400, "invalid_request_error", "more than is capturable", "amount_too_large")
        intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
        self.tell("payment_intent.succeeded", intent)
        return intent

    def _cancel(self, intent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        if intent["status"] in ("succeeded", "canceled"):
            raise _unexpected(intent, "cancel")
        intent.update(status="canceled", amount_capturable=0, cancellation_reason=params.get("cancellation_reason"))
        self.tell("payment_intent.canceled", intent)
        return intent

    def _increment(self, intent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        if intent["status"] != "requires_capture":
            raise _unexpected(intent, "increment")
        if intent["payment_method"] == NO_INCREMENT:
            raise Refused(400, "invalid_request_error", "This card does not support incremental authorization.")
        intent.update(amount=int(params["amount"]), amount_capturable=int(params["amount"]))
        return intent

    def _refund(self, params: dict[str, Any]) -> dict[str, Any]:
        intent = self._intent(params["payment_intent"])
        before = sum(one["amount"] for one in self.refunds.values() if one["payment_intent"] == intent["id"])
        if before + int(params["amount"]) > intent["amount_received"]:
            raise Refused(
                400, "invalid_request_error", "Refund amount is greater than charge", "charge_already_refunded"
            )
        name = f"re_{next(self.numbers)}"
        self.refunds[name] = {
            "id": name,
            "object": "refund",
            "amount": int(params["amount"]),
            "currency": intent["currency"],
            "payment_intent": intent["id"],
            "metadata": params.get("metadata", {}),
            "status": "succeeded",
            "failure_reason": None,
        }
        self.tell("refund.created", self.refunds[name])
        return self.refunds[name]

    def answer_post(self, path: str, body: str, key: str) -> tuple[int, dict[str, Any], bool] | None:
        """Status, body and whether it is a saved answer; None where the connection is to break."""
        fault = self.faults.pop(0) if self.faults else "ok"
        self.posts.append(path)
        if fault == "slow":
            time.sleep(self.slow_s)
        if fault == "lost":
            return None
        if fault in ("429", "409"):
            kind = "rate_limit_error" if fault == "429" else "idempotency_error"
            return int(fault), Refused(int(fault), kind, "busy; try again", "lock_timeout").body, False
        with self.lock:
            saved = self.saved.get(key)
            if saved is not None:
                if saved[0] != path + "?" + body:
                    message = "Keys for idempotent requests can only be used with the same parameters"
                    return 400, Refused(400, "idempotency_error", message).body, False
                return saved[1], json.loads(json.dumps(saved[2])), True
            status, answer = self._work(path, body, fault)
            # Stripe saves once the work began, whatever came of it; a refused parameter is no work.
            if key and (status != 400 and status != 404):
                self.saved[key] = (path + "?" + body, status, json.loads(json.dumps(answer)))
        return None if fault == "late" else (status, answer, False)

    def _work(self, path: str, body: str, fault: str) -> tuple[int, dict[str, Any]]:
        broken = Refused(500, "api_error", "An error on our side").body
        if fault == "500":
            return 500, broken
        try:
            answer = self.post(path, _nested(body))
        except Refused as refused:
            return refused.status, refused.body
        if fault == "lie":
            which = "amount_received" if answer["object"] == "payment_intent" else "amount"
            answer[which] -= 1
        return (500, broken) if fault == "500_after" else (200, answer)


def _unexpected(intent: dict[str, Any], step: str) -> Refused:
    message = f"This PaymentIntent could not be {step}d because it has a status of {intent['status']}."
    return Refused(400, "invalid_request_error", message, "payment_intent_unexpected_state")


def _page(url: str, found: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    names = [one["id"] for one in found]
    start = names.index(query["starting_after"]) + 1 if "starting_after" in query else 0
    limit = int(query.get("limit", 10))
    page = found[start : start + limit]
    return {"object": "list", "url": url, "data": page, "has_more": start + limit < len(found)}


def _nested(body: str) -> dict[str, Any]:
    """``a[b]=c`` as nested dictionaries."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(body, keep_blank_values=True):
        first, *rest = name.replace("]", "").split("[")
        place = found
        for part in rest:
            place = place.setdefault(first, {})
            first = part
        place[first] = value
    return found


def _handler(psp: Psp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            try:
                self._send(200, psp.get(parts.path, dict(parse_qsl(parts.query))))
            except Refused as refused:
                self._send(refused.status, refused.body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                self._send(401, Refused(401, "invalid_request_error", "Invalid API Key provided").body)
                return
            garbage = psp.faults[:1] == ["garbage"]
            answer = psp.answer_post(self.path, body, self.headers.get("Idempotency-Key", ""))
            if answer is None:
                self.close_connection = True
                self.connection.close()
            elif garbage:
                self._send(200, None)
            else:
                self._send(answer[0], answer[1], saved=answer[2])

        def _send(self, status: int, body: Any, saved: bool = False) -> None:
            data = b"<html>oops" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Request-Id", f"req_{next(psp.numbers)}")
            if saved:
                self.send_header("Idempotent-Replayed", "true")
            with suppress(ConnectionError):  # the other side has given up waiting
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler


@contextmanager
def running_psp() -> Iterator[Psp]:
    """The processor behind a real socket on this machine."""
    psp = Psp()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(psp))
    server.daemon_threads = True
    psp.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield psp
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
