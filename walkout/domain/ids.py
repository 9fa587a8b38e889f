"""Identifiers. Live visits get fresh random ids; replays derive theirs, so a second replay meets itself."""

import uuid

#: Namespace of every derived id; changing it would make old recordings charge again.
_NAMESPACE = uuid.UUID("8b4a3c1e-5d0f-5c1b-9a55-6f1f0c7f5a11")


def fresh_id() -> str:
    """A random id for one live visit; nothing about the shopper can be read from it."""
    return str(uuid.uuid4())


def derived_id(*parts: str | int) -> str:
    """The same parts give the same id, on every machine and in every run (UUID version 5, RFC 9562)."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(str(part) for part in parts)))
