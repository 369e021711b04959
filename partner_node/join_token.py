"""The one-time line that an operator hands to a partner (protocol 12.1)."""

import base64
import binascii
from dataclasses import dataclass

from consortium.addresses import parse_addresses
from consortium.canonical import parse_canonical
from consortium.crypto.keys import KEY_BYTES, Secret
from consortium.errors import EnrolmentError, RiskWeaveError
from consortium.ids import PartnerId, parse_partner_id

PREFIX = "riskweave-join-1."
_FIELDS = {"federation", "partner", "enrolment", "ca", "secret", "expires"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """What the token says. It counts as true because it came out of band."""

    federation: str
    partner: PartnerId
    enrolment: str
    """host:port of the enrolment door."""
    authority: bytes
    """Certificate of the operator's authority, DER: the root of all TLS from here on."""
    secret: Secret
    expires: int
    """Seconds since 1970, UTC."""


def parse_token(text: str) -> JoinToken:
    """Read a join token.

    Raises:
        EnrolmentError: not a token, or damaged on its way. The text never quotes it.
    """
    line = text.strip()
    if not line.startswith(PREFIX):
        raise EnrolmentError(f"not a join token: it does not begin with {PREFIX}")
    try:
        body = base64.b64decode(line.removeprefix(PREFIX), altchars=b"-_", validate=True)
        fields = _fields(parse_canonical(body))
        token = JoinToken(
            federation=str(fields["federation"]),
            partner=parse_partner_id(str(fields["partner"])),
            enrolment=",".join(parse_addresses(str(fields["enrolment"]))),
            authority=bytes.fromhex(str(fields["ca"])),
            secret=Secret(bytes.fromhex(str(fields["secret"]))),
            expires=int(str(fields["expires"])),
        )
    except (RiskWeaveError, ValueError, TypeError, binascii.Error) as error:
        raise EnrolmentError("join token is damaged") from error
    if len(token.secret.expose()) != KEY_BYTES:
        raise EnrolmentError("join token is damaged: its secret is not 32 bytes")
    return token


def _fields(value: object) -> dict[str, object]:
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise ValueError("other fields than expected")
    return value
