"""Receipts of 68 bytes (protocol 7.8)."""

from dataclasses import replace

import numpy as np
import pytest

from consortium.errors import DomainError, ScoreRefusalError
from consortium.ids import PersonToken
from consortium.inquiries import Purpose
from consortium.scoring.consent import (
    RECEIPT_BYTES,
    Method,
    pack,
    receipt_digest,
    receipts_digest,
    unpack,
)
from tests.scoring_house import receipt_of


def test_receipt_has_68_bytes_in_the_published_order() -> None:
    receipt = receipt_of(
        4,
        epoch=0x0102,
        purposes=frozenset({Purpose.JOINT_SCORE, Purpose.IMPACT_STUDY}),
        families=0x03040506,
        expires=0x0708090A0B0C0D0E,
        notice=0x0F10,
        method=Method.RECORDED,
    )
    packed = pack([receipt])
    assert RECEIPT_BYTES == len(packed) == 68
    assert packed[:16] == receipt.token
    assert packed[16:48] == receipt.evidence
    assert packed[48:].hex() == "0708090a0b0c0d0e03040506000501020f100301"


def test_tokens_and_families_of_a_batch_are_read_in_order() -> None:
    batch = [receipt_of(number, families=1 << number % 5) for number in range(256)]
    receipts = unpack(pack(batch), 256)
    assert len(receipts) == 256
    assert receipts.tokens.shape == (256, 16)
    assert [bytes(token) for token in receipts.tokens] == [one.token for one in batch]
    expected = np.eye(5, dtype=np.bool_)[np.arange(256) % 5]
    assert np.array_equal(receipts.allowed(5), expected)


def test_highest_family_has_a_bit_too() -> None:
    receipts = unpack(pack([receipt_of(0, families=1 << 31)]), 1)
    assert receipts.allowed(32)[0].tolist() == [False] * 31 + [True]


@pytest.mark.parametrize(
    "changes",
    [
        {"token": PersonToken(bytes(15))},
        {"evidence": bytes(33)},
        {"epoch": 1 << 16},
        {"families": 1 << 32},
        {"families": -1},
        {"expires": -1},
        {"notice": 1 << 16},
    ],
    ids=str,
)
def test_field_out_of_range_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(DomainError):
        pack([replace(receipt_of(0), **changes)])  # type: ignore[arg-type]


@pytest.mark.parametrize("persons", [0, 1, 3, 257])
def test_bytes_that_are_not_so_many_receipts_are_refused(persons: int) -> None:
    with pytest.raises(ScoreRefusalError, match="S11"):
        unpack(pack([receipt_of(0), receipt_of(1)]), persons)


def test_digest_of_a_batch_is_not_that_of_its_receipt() -> None:
    record = pack([receipt_of(0)])
    assert receipt_digest(record) != receipts_digest(record)


def test_receipts_do_not_print_persons() -> None:
    receipt = receipt_of(0)
    shown = repr(receipt) + repr(unpack(pack([receipt]), 1))
    assert "token" not in shown
    assert "evidence" not in shown
