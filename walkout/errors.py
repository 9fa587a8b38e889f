"""Every error class of the project. Each message says what is wrong, where, and what to do about it.

::

    WalkoutError
    ├── SettingsError        a setting that cannot be used: file, key and remedy
    ├── StoreError           a store folder that cannot be read: file, line and remedy
    ├── RecordingError       a recording that cannot be read at all (a damaged stretch is a Gap, not an error)
    ├── CodecError           bytes that are no record of ours
    ├── LogError             the event log cannot be reached or refuses
    ├── BillingError
    │   ├── IllegalMove      a status change that the table of legal moves does not hold
    │   ├── ConflictError    the same id again with other contents
    │   ├── NotFoundError    no such visit, charge or receipt
    │   ├── PricingError     a line that cannot be priced
    │   ├── PaymentDeclined  the provider said no
    │   ├── BadRequest       a field that cannot be used: which and why
    │   ├── PermissionDenied  the caller's certificate does not allow this call
    │   ├── EventsMissing    the visit cannot be closed before its other basket events have arrived
    │   └── BillingUnavailable  billing or the provider does not answer; the same call may be made again
    │       └── PaymentMismatch  the provider did something else than it was asked; a person must look
    ├── ModelError           a model's card or weights that cannot be used: which and what to do
    ├── CaptureError         a camera's address that can never work
    ├── ClipError            footage that is not there, or cannot be written
    ├── SceneError           a simulated script that could not happen in a store
    └── WorkerError          a process of ours that would not start or stay up
"""


class WalkoutError(Exception):
    """Anything this project raises on purpose; the CLI prints it without a traceback."""


class SettingsError(WalkoutError):
    """A setting that cannot be used."""


class StoreError(WalkoutError):
    """A store folder that cannot be read."""


class RecordingError(WalkoutError):
    """A recording that cannot be read at all."""


class CodecError(WalkoutError):
    """Bytes that are no record of ours."""


class LogError(WalkoutError):
    """The event log cannot be reached or refuses."""


class BillingError(WalkoutError):
    """Something the books do not allow."""


class IllegalMove(BillingError):
    """A status change that the table of legal moves does not hold."""


class ConflictError(BillingError):
    """The same id again with other contents."""


class NotFoundError(BillingError):
    """No such visit, charge or receipt."""


class PricingError(BillingError):
    """A basket line that cannot be priced."""


class PaymentDeclined(BillingError):
    """The payment provider said no; nothing was taken."""


class ModelError(WalkoutError):
    """A model's card or weights that cannot be used, or a back end that is not installed."""


class CaptureError(WalkoutError):
    """A camera's address that can never work; a camera that is merely away is health, not an error."""


class ClipError(WalkoutError):
    """Footage that is not there, or cannot be written."""


class SceneError(WalkoutError):
    """A simulated script that could not happen in a store."""


class BadRequest(BillingError):
    """A field of a request that cannot be used."""


class PermissionDenied(BillingError):
    """The caller's certificate does not allow this call."""


class EventsMissing(BillingError):
    """The visit cannot be closed before its other basket events have arrived; append them and close again."""


class BillingUnavailable(BillingError):
    """Billing or the payment provider does not answer; the same call may be made again, nothing happens twice."""


class PaymentMismatch(BillingUnavailable):
    """The provider did something else than it was asked: the books stay as they are, a person must look."""


class WorkerError(WalkoutError):
    """A process of ours that would not start or stay up."""
