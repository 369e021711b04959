"""Ceremonies, consents and use of pseudonyms in logs that lie (8.7 (20), (21))."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from consortium.crypto.keys import IdentityKey
from consortium.documents import document_of
from consortium.identity.epoch_steps import (
    EpochKey,
    EpochOffer,
    EpochRecord,
    EpochSignature,
    KeyHolder,
    offer_digest,
    sign_key,
)
from consortium.ids import Digest, PartnerId, RequestId
from consortium.ledger.bodies import (
    BANDS,
    ConsentBatch,
    DkgCommit,
    DkgComplaint,
    DkgReveal,
    OprfFault,
    OprfUsage,
    band_of,
)
from consortium.ledger.epochs import KeyBody, key_body
from consortium.ledger.findings import Finding, Grade
from consortium.ledger.merkle import EMPTY_ROOT
from consortium.ledger.verify import verify_log
from regulator.replay import ReplayedRun
from tests.ledger_house import START, House, manifest_of

STEP = Digest("0a" * 32)
DAY = START // 86_400
Change = Callable[["Ceremony"], None]


class Ceremony:
    """A log of one honest ceremony, and what a liar makes of it before it is written."""

    def __init__(self) -> None:
        self.house = House(silos=4, rounds=1)
        policy = self.house.manifest.policy
        scoring = replace(policy.scoring, epoch=1)
        manifest = manifest_of(self.house.parties, self.house.schema)
        self.house.manifest = replace(manifest, policy=replace(policy, scoring=scoring))
        self.house.files.clear()
        self.house._keep_manifest()
        self.names = self.house.names
        offer = EpochOffer(
            manifest=self.house.manifest.digest,
            epoch=1,
            attempt=1,
            dealers=self.names,
            previous=None,
        )
        self.offer = offer_digest(offer)
        self.key = EpochKey(
            epoch=1,
            attempt=1,
            threshold=3,
            holders=tuple(
                KeyHolder(member=name, index=number, public=bytes([number]) * 32)
                for number, name in enumerate(self.names, start=1)
            ),
            group_key=b"P" * 32,
            transcript=Digest("0b" * 32),
            previous=None,
        )
        facts = {"offer": self.offer, "epoch": 1, "attempt": 1, "step": STEP}
        body = key_body(self.key, self.offer)
        self.said: list[tuple[PartnerId, DkgCommit | DkgReveal | KeyBody]] = [
            *((name, DkgCommit(**facts)) for name in self.names),  # type: ignore[arg-type]
            *((name, DkgReveal(**facts)) for name in self.names),  # type: ignore[arg-type]
            *((name, body) for name in self.names),
        ]
        self.recorded = True

    def findings(self) -> dict[str, Finding]:
        house = self.house
        house.adopt()
        for name, body in self.said:
            house.append(name, body)
        house.checkpoint()
        if self.recorded:
            house.files[f"epochs/{self.key.digest}.json"] = self.record()
        return found(house)

    def record(self) -> bytes:
        signatures = tuple(
            EpochSignature(member=name, signature=sign_key(self.key, self.identity(name)))
            for name in self.names
        )
        return document_of(EpochRecord(document=document_of(self.key), signatures=signatures))

    def identity(self, name: PartnerId) -> IdentityKey:
        return self.house.identities[name]


def found(house: House) -> dict[str, Finding]:
    audit = verify_log(
        house.bundle(), house.manifest.digest, now=START + 10**6, machines=ReplayedRun
    )
    return {one.name: one for one in reversed(audit.findings) if one.name != "head.age"}


def test_honest_ceremony_has_no_finding() -> None:
    assert Ceremony().findings() == {}


def _reveal_first(made: Ceremony) -> None:
    made.said.insert(0, made.said.pop(4))


def _one_missing(made: Ceremony) -> None:
    made.said.pop()


def _another_transcript(made: Ceremony) -> None:
    name, body = made.said[-1]
    made.said[-1] = name, replace(body, transcript=Digest("0c" * 32))  # type: ignore[call-arg]


def _two_keys(made: Ceremony) -> None:
    name, body = made.said[-1]
    made.said.append((name, replace(body, key=Digest("0c" * 32))))  # type: ignore[call-arg]


def _nothing(made: Ceremony) -> None:
    made.said.clear()


def _another_offer(made: Ceremony) -> None:
    name, body = made.said[3]
    made.said[3] = name, replace(body, offer=Digest("0d" * 32))


def _other_attempt(made: Ceremony) -> None:
    name, body = made.said[3]
    made.said[3] = name, replace(body, attempt=2)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_reveal_first, "epoch.order"),
        (_one_missing, "epoch.keys"),
        (_another_transcript, "epoch.differs"),
        (_two_keys, "epoch.twice"),
        (_nothing, "epoch.unlogged"),
        (_another_offer, "epoch.split"),
        (_other_attempt, "epoch.offer"),
    ],
)
def test_ceremony_that_is_not_one_is_found(change: Change, name: str) -> None:
    made = Ceremony()
    change(made)
    assert made.findings()[name].grade is Grade.ERROR


def test_record_that_a_holder_did_not_sign_is_found() -> None:
    made = Ceremony()
    made.identity = lambda _name: made.house.identities[made.names[0]]  # type: ignore[method-assign]
    assert "epoch.record" in made.findings()


def test_complaint_is_shown() -> None:
    made = Ceremony()
    made.recorded = False
    facts = {"offer": made.offer, "epoch": 1, "attempt": 1, "step": STEP}
    made.said = [*made.said[:8], (made.names[0], DkgComplaint(**facts))]  # type: ignore[arg-type, list-item]
    assert made.findings()["epoch.complaint"].grade is Grade.WARNING


# --- consents and use -------------------------------------------------------------------------


def day(number: int = DAY - 2, **changes: object) -> ConsentBatch:
    made = ConsentBatch(
        day=number, root=Digest("0a" * 32), receipts="10-99", withdrawals=Digest("0b" * 32)
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_days_of_consents_and_use_in_their_order_have_no_finding() -> None:
    house = House(silos=3, rounds=1)
    house.adopt()
    usage = OprfUsage(epoch=1, day=DAY - 1, points="0")
    empty = day(DAY - 1, root=Digest(EMPTY_ROOT.hex()), receipts="0")
    for name in house.names:
        for body in (day(), empty, usage):
            house.append(name, body)
    house.checkpoint()
    assert found(house) == {}


@pytest.mark.parametrize(
    ("bodies", "name"),
    [
        ((day(), day()), "day.order"),
        ((day(DAY + 1),), "day.order"),
        ((day(receipts="57"),), "day.band"),
        ((day(receipts="0"),), "consent.root"),
        ((day(root=Digest(EMPTY_ROOT.hex())),), "consent.root"),
        (
            (OprfFault(epoch=1, holder=PartnerId("silo-02"), request=RequestId("0a" * 16)),),
            "oprf.fault",
        ),
    ],
)
def test_day_that_cannot_be_is_found(bodies: tuple[ConsentBatch, ...], name: str) -> None:
    house = House(silos=3, rounds=1)
    house.adopt()
    for body in bodies:
        house.append(house.names[0], body)
    house.checkpoint()
    assert name in found(house)


def test_band_says_no_more_than_the_power_of_ten() -> None:
    assert [band_of(count) for count in (-1, 0, 1, 9, 10, 99, 100, 12_345)] == [
        *("0", "0", "1-9", "1-9", "10-99", "10-99", "100-999", "10000-99999"),
    ]
    assert {band_of(10**power) for power in range(12)} < set(BANDS)
