"""The joint score against vectors of an independent program, ``vectors/make_scoring.py``."""

import io
import json
import runpy
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consortium.canonical import canonical_json
from consortium.crypto.keys import AgreementKey, IdentityKey
from consortium.errors import ScoreRefusal
from consortium.ids import PartnerId
from consortium.inquiries import Purpose, Roster, ScoreAnswer, ScoreRequest
from consortium.scoring.combine import combine
from consortium.scoring.consent import pack, receipt_digest
from consortium.scoring.guard import seen_key
from consortium.scoring.inquiry import (
    AskerSecrets,
    OpenInquiry,
    Terms,
    open_inquiry,
    seal_inquiry,
)
from consortium.scoring.layout import Layout, Words, encode_holding
from consortium.scoring.pairs import PairCache
from consortium.scoring.partial import answer, refuse
from consortium.scoring.roster import Rosters, members_digest, roster_statement, sign_roster
from tests.scoring_house import COORDINATOR, House, receipt_of, token_of
from tests.secagg_house import digest, secret_of

MAKER = Path(__file__).parents[1] / "vectors" / "make_scoring.py"
VECTORS: dict[str, Any] = json.loads(MAKER.with_name("scoring.json").read_text())
NAMES = tuple(PartnerId(name) for name in VECTORS["partners"])
ASKER = PartnerId(VECTORS["inquiry"]["requester"])
RESPONDERS = tuple(name for name in NAMES if name != ASKER)
LAYOUT = Layout(tuple(VECTORS["families"]))
HOUSE = House(len(NAMES), names=NAMES)
NOW = VECTORS["roster"]["valid_until"] - 60
RECEIPTS = [
    receipt_of(0, expires=NOW + 1_000, families=0b11),
    receipt_of(1, expires=NOW + 1_000, families=0b01),
]


class PinnedManifest:
    """A manifest whose digest is the vectors'; members and policy are the house's."""

    digest = digest("manifest")
    partners = HOUSE.manifest.partners
    coordinator = HOUSE.manifest.coordinator
    policy = HOUSE.manifest.policy


MANIFEST: Any = PinnedManifest()


def keys_of(name: PartnerId) -> PairCache:
    return PairCache(
        MANIFEST,
        name,
        identity=IdentityKey.from_secret(secret_of(f"identity {name}")),
        agreement=AgreementKey.from_secret(secret_of(f"agreement {name}")),
    )


def roster() -> Roster:
    given = VECTORS["roster"]
    plain = Roster(
        version=given["version"],
        manifest=digest("manifest"),
        partners=NAMES,
        model=digest("model"),
        head=None,
        valid_until=given["valid_until"],
        signature=b"",
    )
    return sign_roster(plain, COORDINATOR)


def sealed() -> tuple[ScoreRequest, AskerSecrets]:
    inquiry = VECTORS["inquiry"]
    terms = Terms(
        request=inquiry["request"],
        roster=NAMES,
        roster_version=inquiry["roster_version"],
        model=inquiry["model"],
        purpose=Purpose.JOINT_SCORE,
        deadline=inquiry["deadline"],
    )
    return seal_inquiry(keys_of(ASKER), terms, pack(RECEIPTS), entropy=secret_of("entropy"))


def opened(name: PartnerId) -> OpenInquiry:
    rosters = Rosters(MANIFEST)
    rosters.add(roster(), now=NOW)
    served = {digest("model"): LAYOUT}
    request, _ = sealed()
    return open_inquiry(
        request, keys_of(name), rosters=rosters, served=served, now_ms=NOW * 1_000
    )


def words_of(name: PartnerId, inquiry: OpenInquiry) -> Words:
    held = VECTORS["held"][name]
    logits = {
        family: np.array([person.get(family, 0) for person in held])
        for family in LAYOUT.families
        if any(family in person for person in held)
    }
    known = np.array([bool(person) for person in held])
    allowed = inquiry.receipts.allowed(len(LAYOUT.families))
    return encode_holding(LAYOUT, logits, known, allowed=allowed)


def test_vectors_are_what_their_program_makes() -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        runpy.run_path(str(MAKER), run_name="__main__")
    assert json.loads(printed.getvalue()) == VECTORS


def test_roster() -> None:
    assert roster_statement(roster()).hex() == VECTORS["roster"]["statement"]
    assert roster().signature.hex() == VECTORS["roster"]["signature"]
    assert members_digest(NAMES) == VECTORS["members_digest"]
    assert seen_key(ASKER, token_of(0)) == VECTORS["seen_key"]


def test_receipts() -> None:
    packed = [pack([receipt]) for receipt in RECEIPTS]
    assert [one.hex() for one in packed] == VECTORS["receipts"]
    assert receipt_digest(packed[0]) == VECTORS["receipt_digest"]


def test_request_with_its_seal_wraps_and_context() -> None:
    request, secrets = sealed()
    assert request.inquiry == canonical_json(VECTORS["inquiry"])
    assert request.sealed.hex() == VECTORS["sealed"]
    assert {wrap.member: wrap.key.hex() for wrap in request.wraps} == VECTORS["wraps"]
    assert request.signature.hex() == VECTORS["request_signature"]
    assert secrets.context == VECTORS["context"]
    masks = {name: key.expose().hex() for name, key in secrets.masks.items()}
    assert masks == VECTORS["asker_masks"]


@pytest.mark.parametrize("name", RESPONDERS)
def test_answer(name: PartnerId) -> None:
    inquiry = opened(name)
    given = answer(inquiry, words_of(name, inquiry), keys_of(name))
    words = np.frombuffer(given.words, dtype="<u8")
    assert [f"{word:016x}" for word in words] == VECTORS["answers"][name]["words"]
    assert given.signature.hex() == VECTORS["answers"][name]["signature"]


def test_refusal() -> None:
    refusal = refuse(VECTORS["context"], ScoreRefusal.QUOTA, keys_of(NAMES[0]))
    assert refusal.signature.hex() == VECTORS["refusal_signature"]


def test_sum_of_the_published_answers() -> None:
    _, secrets = sealed()
    answers = [
        ScoreAnswer(
            context=secrets.context,
            member=name,
            words=b"".join(
                int(word, 16).to_bytes(8, "little")
                for word in VECTORS["answers"][name]["words"]
            ),
            signature=bytes.fromhex(VECTORS["answers"][name]["signature"]),
        )
        for name in RESPONDERS
    ]
    own = words_of(ASKER, opened(RESPONDERS[0]))
    sums = combine(secrets, answers, own, layout=LAYOUT, keys=keys_of(ASKER))
    total = np.array([int(word, 16) for word in VECTORS["total"]], dtype=np.uint64)
    figures = total.reshape(2, LAYOUT.words).view(np.int64)
    assert np.array_equal(sums.logits, figures[:, 0:-2:2])
    assert np.array_equal(sums.counts, figures[:, 1:-2:2])
    assert np.array_equal(sums.partners, figures[:, -2])
    assert sums.counts.tolist() == [[2, 0], [1, 0]]
