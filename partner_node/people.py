"""Persons as the node may keep them: a keyed hash here, a token elsewhere, an id nowhere.

The key is a file of this node and never leaves it, so what stands in the database says
nothing to whoever has the database alone (protocol 6.1).
"""

import hmac
from collections.abc import Callable

from consortium.canonical import Label, hash_with, lp
from consortium.crypto.keys import Secret, hkdf
from consortium.ids import Digest

SUBJECT_BYTES = 16

PersonForm = Callable[[str], bytes]
"""The canonical input of a person's identifier; PersonError if it is not of the form."""


def desk_hash(key: Secret) -> Callable[[str], str]:
    """Keyed hash for what the desk keeps of keys and questions; ``key`` as of ``People``.

    Idempotency keys are often numbers in a row, and persons can be tried: a plain hash of
    the two would be one of a person.
    """
    own = hkdf(key, b"", b"riskweave/node-desk/v1").expose()
    return lambda text: hmac.digest(own, text.encode("utf-8"), "sha256").hex()


class People:
    """Turns identifiers into what may be kept."""

    def __init__(self, form: PersonForm, key: Secret) -> None:
        """``key``: 32 bytes of this node's own file. Secret."""
        self.form = form
        self._subject = hkdf(key, b"", b"riskweave/node-subject/v1").expose()
        self._access = hkdf(key, b"", b"riskweave/node-access/v1").expose()
        self._withdrawal = hkdf(key, b"", b"riskweave/node-withdrawal/v1").expose()
        self._consent = hkdf(key, b"", b"riskweave/node-consent/v1").expose()

    def subject(self, x: bytes) -> bytes:
        """Under which this node keeps a person: 16 bytes."""
        return hmac.digest(self._subject, x, "sha256")[:SUBJECT_BYTES]

    def logged(self, x: bytes) -> bytes:
        """The same for the access log, under another key: the two cannot be joined."""
        return hmac.digest(self._access, x, "sha256")

    def evidence(self, reference: str) -> bytes:
        """32 bytes that bind this node's own record of a consent (protocol 7.8)."""
        return hmac.digest(self._consent, lp(reference.encode("utf-8")), "sha256")

    def withdrawal(self, subject: bytes, purpose: str, day: int) -> Digest:
        """Salted hash of a withdrawn consent, for ``consent.batch`` (protocol 8.4).

        The salt is of this node's own key, so nobody can try persons; with it the node can
        show one withdrawal and no other.
        """
        facts = lp(subject) + lp(purpose.encode("ascii"))
        salt = hmac.digest(self._withdrawal, facts + day.to_bytes(8, "big"), "sha256")
        return hash_with(Label.WITHDRAWAL, salt, facts)
