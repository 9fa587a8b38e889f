"""Who may call what, and the certificates that say who is who.

Over a unix socket or the loopback address without certificates the caller is ``local`` and may do everything: the
operating system already decided who gets there. Any other address needs mutual TLS; the caller is the common name of
its certificate. ``development_certificates`` makes an authority of its own, so that nothing has to be bought to begin.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from walkout.errors import SettingsError

LOCAL = "local"
_LOOK = frozenset({"GetVisit", "GetReceipt", "WatchVisit", "ListVisits"})
_CATALOG = frozenset({"UpsertPrices", "ArchiveProducts", "SetBarcodes", "SetPricePeriods", "SetStoreTerms"})
_AFTERSALE = frozenset({"AdjustCharge", "Refund", "OpenDispute", "ResolveDispute"})
_VISIT = frozenset({"OpenVisit", "AppendBasketEvents", "CloseVisit"})
_BOOKS = frozenset({"CheckBooks", "GetSettlementReport", "TopUpWallet"})

#: Caller -> the calls that it may make. The edge carries visits, the gate lets people in and sees them out, the console
#: is the operator's, the app the shopper's.
PERMISSIONS: Mapping[str, frozenset[str]] = {
    "edge": _VISIT | _LOOK | _CATALOG,
    "gate": frozenset({"OpenVisit", "CloseVisit", "GetVisit", "WatchVisit"}),
    "console": _LOOK | _CATALOG | _AFTERSALE | _BOOKS,
    "app": frozenset({"GetVisit", "GetReceipt", "WatchVisit", "OpenDispute", "TopUpWallet"}),
    LOCAL: _VISIT | _LOOK | _CATALOG | _AFTERSALE | _BOOKS,
}
#: Development certificates are for trying out: they end after a year.
_DAYS = 365


def may_call(caller: str, call: str) -> bool:
    """Whether the table lets ``caller`` make ``call``; a name that is not in it may do nothing."""
    return call in PERMISSIONS.get(caller, frozenset())


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: who we are (certificate and key), and the authority that the other side must come from."""

    certificate: Path
    key: Path
    authority: Path

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a server that asks every caller for its certificate. Raises ``SettingsError``."""
        key, certificate, authority = self._read()
        return grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a client. Raises ``SettingsError``."""
        key, certificate, authority = self._read()
        return grpc.ssl_channel_credentials(authority, key, certificate)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        try:
            return self.key.read_bytes(), self.certificate.read_bytes(), self.authority.read_bytes()
        except OSError as error:
            raise SettingsError(
                f"{error.filename}: no certificate here ({error.strerror}); see walkout books --help"
            ) from error


def development_certificates(folder: Path, now: datetime, hosts: tuple[str, ...] = ()) -> dict[str, Certificate]:
    """Certificates for the server and each caller of the table, made once in ``folder`` by an authority of its own.

    The server answers to localhost, the loopback addresses and ``hosts``. Keys are readable by their owner only.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = ("server", *(name for name in PERMISSIONS if name != LOCAL))
    authority = folder / "authority.pem"
    found = {name: Certificate(folder / f"{name}.pem", folder / f"{name}.key", authority) for name in names}
    if not authority.exists():
        _make_all(folder, found, now, hosts)
    return found


def _make_all(folder: Path, wanted: Mapping[str, Certificate], now: datetime, hosts: tuple[str, ...]) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = _name("walkout development authority")
    authority = (
        _builder(name, name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    for caller, files in wanted.items():
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(caller), name, key.public_key(), now)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if caller == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if caller == "server":
            builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(hosts)), critical=False)
        _write(files.key, _pem(key))
        _write(files.certificate, builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    _write(folder / "authority.key", _pem(authority_key))
    _write(folder / "authority.pem", authority.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    begins = now.astimezone(UTC) - timedelta(minutes=5)  # clocks of two machines differ
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=_DAYS))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternatives(hosts: tuple[str, ...]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for host in ("localhost", "127.0.0.1", "::1", *hosts):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            found.append(x509.DNSName(host))
    return found


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by its owner only."""
    part = path.with_suffix(path.suffix + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    part.replace(path)
