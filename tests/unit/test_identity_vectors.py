"""Pseudonyms against vectors of an independent program, ``vectors/make_identity.py``."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consortium.crypto.ristretto import Scalar, scalar_mul, split_points
from consortium.errors import ScoreRefusal
from consortium.identity.dealing import Reveal, commitment_hash, open_commitments
from consortium.identity.oprf import blind_many, combine_many, evaluate
from consortium.identity.person import PersonRule, person_input
from consortium.identity.shares import commit, lagrange, share_at, verify_share
from consortium.ids import PartnerId
from tests.identity_house import reason_of
from tests.secagg_house import digest, secret_of

FOLDER = Path(__file__).parents[1] / "vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "identity.json").read_text())
COEFFICIENTS = [Scalar(bytes.fromhex(text)) for text in VECTORS["coefficients"]]
MEMBER, EPOCH = PartnerId(VECTORS["member"]), VECTORS["epoch"]
COMMITMENTS, PROOF = (bytes.fromhex(VECTORS[name]) for name in ("commitments", "proof"))


def test_vectors_are_those_that_the_program_makes() -> None:
    made = subprocess.run(  # noqa: S603 - a fixed program
        [sys.executable, str(FOLDER / "make_identity.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == (FOLDER / "identity.json").read_text()


def test_polynomial_its_commitments_and_shares_are_the_vectors() -> None:
    points = commit(COEFFICIENTS)
    assert list(points) == split_points(COMMITMENTS)
    for index, share in VECTORS["shares"].items():
        assert share_at(COEFFICIENTS, int(index)).hex() == share
        verify_share(Scalar(bytes.fromhex(share)), points, int(index))
    assert commitment_hash(EPOCH, MEMBER, COMMITMENTS, PROOF).hex() == VECTORS["commit"]


def test_proof_of_knowledge_of_the_vectors_holds_for_its_member_and_epoch_alone() -> None:
    reveal = Reveal(seen=digest("seen"), commitments=COMMITMENTS, proof=PROOF, boxes=())
    opened = open_commitments(reveal, epoch=EPOCH, dealer=MEMBER, threshold=3)
    assert opened == split_points(COMMITMENTS)
    for epoch, dealer in ((EPOCH + 1, MEMBER), (EPOCH, PartnerId("bank_b"))):
        refused = reason_of(
            lambda e=epoch, d=dealer: open_commitments(reveal, epoch=e, dealer=d, threshold=3)
        )
        assert refused is ScoreRefusal.PROOF


@pytest.mark.parametrize("servers", [(1, 2, 3), (1, 3, 4), (2, 3, 4)])
def test_tokens_of_any_three_holders_are_the_vectors(servers: tuple[int, ...]) -> None:
    persons = VECTORS["persons"]
    inputs = [person_input(PersonRule.parse(p["rule"]), p["number"]) for p in persons]
    assert [x.hex() for x in inputs] == [p["input"] for p in persons]
    blinded = blind_many(inputs, secret_of("blinding of the vectors"))
    shares = [
        evaluate(
            blinded.points,
            scalar_mul(
                lagrange(servers, index), Scalar(bytes.fromhex(VECTORS["shares"][str(index)]))
            ),
        )
        for index in servers
    ]
    tokens = combine_many(inputs, blinded, shares)
    assert [token.hex() for token in tokens] == [p["token"] for p in persons]
