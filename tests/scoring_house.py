"""A federation's joint scores without roles: n partners, one coordinator, one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import IdentityKey
from consortium.ids import PartnerId, PersonToken, RequestId
from consortium.inquiries import Purpose, Roster, ScoreAnswer, ScoreRequest
from consortium.manifest import Delivery, Manifest, Member, Role, ScoringPolicy
from consortium.scoring.combine import combine
from consortium.scoring.consent import Receipt, pack
from consortium.scoring.inquiry import (
    AskerSecrets,
    OpenInquiry,
    Terms,
    open_inquiry,
    seal_inquiry,
)
from consortium.scoring.layout import JointSums, Layout, Words, encode_holding
from consortium.scoring.pairs import PairCache
from consortium.scoring.partial import answer
from consortium.scoring.roster import Rosters, sign_roster
from tests.secagg_house import POLICY, Party, digest, secret_of

NOW_MS = 1_790_000_000_123
NOW = NOW_MS // 1_000
EPOCH = 3
VERSION = 7
MODEL = digest("model")
FAMILIES = ("repayment", "billing", "payments", "profile", "orders")
LAYOUT = Layout(FAMILIES)
SCORING = ScoringPolicy(delivery=Delivery.JOINT, epoch=EPOCH)
COORDINATOR = IdentityKey.from_secret(secret_of("identity coordinator"))

Holding = tuple[Mapping[str, NDArray[np.int64]], NDArray[np.bool_]]


def token_of(number: int) -> PersonToken:
    return PersonToken(secret_of(f"person {number}").expose()[:16])


def receipt_of(number: int, **changes: object) -> Receipt:
    plain = Receipt(
        token=token_of(number),
        epoch=EPOCH,
        purposes=frozenset({Purpose.JOINT_SCORE}),
        families=(1 << len(FAMILIES)) - 1,
        expires=NOW + 1_000,
        evidence=secret_of(f"evidence {number}").expose(),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def request_id(number: int) -> RequestId:
    return RequestId(f"{number:032x}")


@dataclass
class House:
    """Everybody's keys and caches; the roster lists everybody unless it is told otherwise."""

    count: int
    scoring: ScoringPolicy = SCORING
    layout: Layout = LAYOUT
    names: tuple[PartnerId, ...] = ()
    """p00, p01, ... where none are given."""
    manifest: Manifest = field(init=False)
    keys: dict[PartnerId, PairCache] = field(init=False)
    rosters: Rosters = field(init=False)

    def __post_init__(self) -> None:
        names = self.names or [PartnerId(f"p{number:02d}") for number in range(self.count)]
        parties = [Party(name) for name in names]
        coordinator = Member(
            id=PartnerId("coordinator"),
            index=60_000,
            role=Role.COORDINATOR,
            identity=COORDINATOR.public.hex(),
            agreement="",
            witness="",
            tls_spki=digest("coordinator"),
            families=(),
        )
        partners = tuple(party.member(index) for index, party in enumerate(parties, 1))
        self.manifest = Manifest(
            federation="test",
            version=1,
            previous=None,
            not_before=0,
            schema=digest("schema"),
            members=(coordinator, *partners),
            policy=replace(POLICY, scoring=self.scoring),
        )
        self.keys = {
            party.id: PairCache(
                self.manifest, party.id, identity=party.identity, agreement=party.agreement
            )
            for party in parties
        }
        self.rosters = Rosters(self.manifest)
        self.rosters.add(self.roster(), now=NOW)

    @property
    def ids(self) -> tuple[PartnerId, ...]:
        return tuple(self.keys)

    def roster(self, **changes: object) -> Roster:
        plain = Roster(
            version=VERSION,
            manifest=self.manifest.digest,
            partners=self.ids,
            model=MODEL,
            head=None,
            valid_until=NOW + 60,
            signature=b"",
        )
        return sign_roster(replace(plain, **changes), COORDINATOR)  # type: ignore[arg-type]

    def terms(self, **changes: object) -> Terms:
        plain = Terms(
            request=request_id(1),
            roster=self.ids,
            roster_version=VERSION,
            model=MODEL,
            purpose=Purpose.JOINT_SCORE,
            deadline=NOW_MS + 500,
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def seal(
        self,
        asker: PartnerId,
        receipts: Sequence[Receipt] = (receipt_of(0),),
        **changes: object,
    ) -> tuple[ScoreRequest, AskerSecrets]:
        terms = self.terms(**changes)
        entropy = secret_of(f"entropy {asker} {terms.request}")
        return seal_inquiry(self.keys[asker], terms, pack(receipts), entropy=entropy)

    def open(
        self, request: ScoreRequest, responder: PartnerId, **changes: object
    ) -> OpenInquiry:
        plain: dict[str, object] = {
            "rosters": self.rosters,
            "served": {MODEL: self.layout},
            "now_ms": NOW_MS,
        }
        return open_inquiry(request, self.keys[responder], **(plain | changes))  # type: ignore[arg-type]

    def encode(self, holding: Holding) -> Words:
        return encode_holding(self.layout, *holding)

    def answers(
        self, request: ScoreRequest, asker: PartnerId, holdings: Mapping[PartnerId, Holding]
    ) -> list[ScoreAnswer]:
        return [
            answer(self.open(request, name), self.encode(holdings[name]), self.keys[name])
            for name in self.ids
            if name != asker
        ]

    def combine(
        self,
        secrets: AskerSecrets,
        answers: Sequence[ScoreAnswer],
        own: Words,
        asker: PartnerId,
    ) -> JointSums:
        keys = self.keys[asker]
        return combine(secrets, answers, own, layout=self.layout, keys=keys)

    def ask(
        self,
        asker: PartnerId,
        receipts: Sequence[Receipt],
        holdings: Mapping[PartnerId, Holding],
        **changes: object,
    ) -> JointSums:
        """One whole request."""
        request, secrets = self.seal(asker, receipts, **changes)
        given = self.answers(request, asker, holdings)
        return self.combine(secrets, given, self.encode(holdings[asker]), asker)


def nobody(persons: int = 1) -> Holding:
    return {}, np.zeros(persons, dtype=np.bool_)
