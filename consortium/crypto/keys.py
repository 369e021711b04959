"""Secrets, signatures and key agreement (protocol 0.1, 2.1).

Nothing here draws entropy: every private key is made from a ``Secret`` that the role's
wiring drew. Every signature covers a label, so that one made for one use fails for all others.
"""

import hmac
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from consortium.canonical import Label
from consortium.errors import (
    DecodeError,
    DomainError,
    RefusalCode,
    RefusalError,
    SignatureError,
)

KEY_BYTES = 32


class Secret:
    """Bytes that cannot be printed, compared or stored by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def expose(self) -> bytes:
        """The bytes themselves. Each call is a place to look at in review."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not serialised; seal it")


def hkdf(ikm: Secret, salt: bytes, info: bytes) -> Secret:
    """HKDF-SHA256 with 32 bytes of output (protocol 0.1; RFC 5869).

    Args:
        ikm: Key material. Secret.
        salt: A context digest, or empty. Public.
        info: What the key is for; no two uses share one. Public.
    """
    # One block of output: extract, expand once. A joint score derives some thirty keys.
    extracted = hmac.digest(salt, ikm.expose(), "sha256")
    return Secret(hmac.digest(extracted, info + b"\x01", "sha256"))


class IdentityKey:
    """An Ed25519 signing key (RFC 8032)."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def from_secret(cls, secret: Secret) -> "IdentityKey":
        """The key of a 32-byte seed, or DomainError."""
        return cls(Ed25519PrivateKey.from_private_bytes(_seed(secret)))

    def sign(self, label: Label, message: bytes) -> bytes:
        """Sign ``label ‖ message``: 64 bytes."""
        return self._key.sign(label.line + message)

    def __repr__(self) -> str:
        return f"IdentityKey(public={self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not serialised; seal its seed")


class VerifyKey:
    """A member's Ed25519 public key, parsed once."""

    __slots__ = ("_key", "public")

    def __init__(self, public: bytes) -> None:
        """Take 32 bytes, or raise SignatureError: nothing verifies under anything else."""
        self.public = public
        try:
            self._key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError as error:
            raise SignatureError(f"{public.hex()[:64]} is no Ed25519 public key") from error

    def verify(self, label: Label, message: bytes, signature: bytes) -> None:
        """Raise SignatureError unless ``signature`` is this key's over ``label ‖ message``."""
        try:
            self._key.verify(signature, label.line + message)
        except (InvalidSignature, ValueError) as error:
            raise SignatureError(
                f"signature does not verify under {self.public.hex()} for {label.value.strip()}"
            ) from error


def verify_signature(public: bytes, label: Label, message: bytes, signature: bytes) -> None:
    """Raise SignatureError unless ``signature`` is ``public``'s over ``label ‖ message``."""
    VerifyKey(public).verify(label, message, signature)


class NoteKey:
    """An Ed25519 key of the log or of a witness (protocol 8.1).

    What it signs is fixed by others (C2SP signed notes and cosignatures) and has no label of
    ours, so it is a key of its own and signs nothing else.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def from_secret(cls, secret: Secret) -> "NoteKey":
        """The key of a 32-byte seed, or DomainError."""
        return cls(Ed25519PrivateKey.from_private_bytes(_seed(secret)))

    def sign(self, text: bytes) -> bytes:
        """Sign a note's text, or a cosignature's message, as it is: 64 bytes."""
        return self._key.sign(text)

    def __repr__(self) -> str:
        return f"NoteKey(public={self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not serialised; seal its seed")


def verify_note(public: bytes, text: bytes, signature: bytes) -> None:
    """Raise SignatureError unless ``signature`` is ``public``'s over ``text``, unlabelled."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(f"note does not verify under {public.hex()[:64]}") from error


class AgreementKey:
    """An X25519 key (RFC 7748)."""

    __slots__ = ("_key", "public")

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def from_secret(cls, secret: Secret) -> "AgreementKey":
        """The key of a 32-byte seed, or DomainError."""
        return cls(X25519PrivateKey.from_private_bytes(_seed(secret)))

    def exchange(self, peer: bytes) -> Secret:
        """The secret shared with the holder of ``peer``.

        Raises:
            DecodeError: ``peer`` is not 32 bytes.
            RefusalError: the result is all zero (R17): the peer's key is of small order,
                and everybody would know the secret (protocol 3.4.1).
        """
        if len(peer) != KEY_BYTES:
            raise DecodeError(f"agreement key of {len(peer)} bytes, expected {KEY_BYTES}")
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError as error:
            raise RefusalError(RefusalCode.ZERO_SECRET, f"with peer {peer.hex()}") from error
        return Secret(shared)

    def __repr__(self) -> str:
        return f"AgreementKey(public={self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not serialised; seal its seed")


def _seed(secret: Secret) -> bytes:
    seed = secret.expose()
    if len(seed) != KEY_BYTES:
        raise DomainError(f"seed of {len(seed)} bytes, expected {KEY_BYTES}")
    return seed
