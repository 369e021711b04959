import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.canonical import canonical_json
from consortium.crypto.keys import Secret
from consortium.errors import EnrolmentError
from consortium.ids import PartnerId
from coordinator import authority
from partner_node.join_token import PREFIX, parse_token

ISSUED = authority.JoinToken(
    federation="fed",
    partner=PartnerId("bank_a"),
    enrolment="127.0.0.1:7444",
    authority=b"DER",
    secret=Secret(b"s" * 32),
    expires=1_900_000_000,
)


def token(**changed: object) -> str:
    fields: dict[str, object] = {
        "federation": "fed",
        "partner": "bank_a",
        "enrolment": "127.0.0.1:7444",
        "ca": "00",
        "secret": "73" * 32,
        "expires": 1,
    }
    body = canonical_json({k: v for k, v in (fields | changed).items() if v is not None})
    return PREFIX + base64.urlsafe_b64encode(body).decode()


def test_token_reads_as_the_coordinator_wrote_it() -> None:
    read = parse_token(ISSUED.encode() + "\n")
    assert read.secret.expose() == ISSUED.secret.expose()
    assert (read.federation, read.partner, read.enrolment, read.authority, read.expires) == (
        *(ISSUED.federation, ISSUED.partner, ISSUED.enrolment),
        *(ISSUED.authority, ISSUED.expires),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        PREFIX,
        PREFIX + "!!!",
        token(secret="73" * 31),
        token(secret="zz" * 32),
        token(secret=None),
        token(extra="x"),
        token(partner="Bank A"),
        token(enrolment="http://x"),
        token(expires="soon"),
        token(ca=5),
    ],
)
def test_damaged_token_is_refused_without_quoting_its_secret(text: str) -> None:
    with pytest.raises(EnrolmentError) as caught:
        parse_token(text)
    assert "73" * 31 not in str(caught.value)


@given(at=st.integers(0, len(ISSUED.encode()) - 1), bit=st.integers(0, 6))
def test_flipped_bit_gives_another_token_or_an_enrolment_error(at: int, bit: int) -> None:
    raw = bytearray(ISSUED.encode().encode())
    raw[at] ^= 1 << bit
    try:
        parse_token(raw.decode("latin-1"))
    except EnrolmentError:
        return
