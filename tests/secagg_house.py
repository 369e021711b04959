"""A federation's masking core without roles: keys, machines and aggregators of n partners."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.manifest import Manifest, Member, Policy, Role
from consortium.messages import Join, SumRequest
from consortium.plan import ReleaseKind
from consortium.secagg.aggregator import Aggregator
from consortium.secagg.chain import Link, link
from consortium.secagg.partner import PartnerFacts, PartnerMachine

LENGTH = 40
RUN = RunId("ab" * 16)
POLICY = Policy(
    min_partners=2,
    max_partners_per_person=2,
    delta="0.000001",
    max_epsilon_per_run="3",
    max_epsilon_lifetime="8",
    model_kinds=("scorecard",),
    code=(),
    vote_quorum=2,
)


def secret_of(name: str) -> Secret:
    return Secret(hashlib.sha256(name.encode()).digest())


def digest(name: str) -> Digest:
    return digest_of(name.encode())


@dataclass(frozen=True)
class Party:
    """All that one partner holds."""

    id: PartnerId

    @property
    def identity(self) -> IdentityKey:
        return IdentityKey.from_secret(secret_of(f"identity {self.id}"))

    @property
    def agreement(self) -> AgreementKey:
        return AgreementKey.from_secret(secret_of(f"agreement {self.id}"))

    @property
    def seed(self) -> Secret:
        return secret_of(f"seed {self.id}")

    def member(self, index: int) -> Member:
        return Member(
            id=self.id,
            index=index,
            role=Role.PARTNER,
            identity=self.identity.public.hex(),
            agreement=self.agreement.public.hex(),
            witness="",
            tls_spki=digest(self.id),
            families=("repayment",),
        )


@dataclass
class Federation:
    """``parties`` under one manifest; ``links`` is what everybody knows of the chains."""

    names: tuple[str, ...]
    policy: Policy = POLICY
    parties: dict[PartnerId, Party] = field(init=False)
    manifest: Manifest = field(init=False)
    links: dict[PartnerId, Link] = field(init=False)

    def __post_init__(self) -> None:
        ids = sorted(PartnerId(name) for name in self.names)
        self.parties = {name: Party(name) for name in ids}
        self.manifest = Manifest(
            federation="test",
            version=1,
            previous=None,
            not_before=0,
            schema=digest("schema"),
            members=tuple(
                party.member(index) for index, party in enumerate(self.parties.values(), 1)
            ),
            policy=self.policy,
        )
        self.links = {
            name: Link(0, link(party.seed, LENGTH, 0)) for name, party in self.parties.items()
        }

    @property
    def roster(self) -> tuple[PartnerId, ...]:
        return tuple(self.parties)

    def request(self, dimension: int = 8, **changes: object) -> SumRequest:
        plain = SumRequest(
            run=RUN,
            plan=digest("plan"),
            kind=ReleaseKind.GRADIENT,
            round=1,
            attempt=1,
            roster=self.roster,
            inputs=digest("inputs"),
            dimension=dimension,
            scale_bits=24,
            variance="1000000",
            head=digest("head"),
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def machine(self, name: PartnerId, count: int = 1, **changes: object) -> PartnerMachine:
        return PartnerMachine(replace(self.facts(name, count), **changes))  # type: ignore[arg-type]

    def facts(self, name: PartnerId, count: int = 1) -> PartnerFacts:
        party = self.parties[name]
        return PartnerFacts(
            manifest=self.manifest,
            member=name,
            identity=party.identity,
            agreement=party.agreement,
            seed=party.seed,
            length=LENGTH,
            count=count,
            links=self.links,
        )

    def aggregator(self, request: SumRequest) -> Aggregator:
        return Aggregator(self.manifest, request, links=self.links, length=LENGTH)

    def joined(
        self, request: SumRequest, count: int = 1
    ) -> tuple[Aggregator, dict[PartnerId, PartnerMachine], tuple[Join, ...]]:
        """Everybody has joined and knows it."""
        machines = {name: self.machine(name, count) for name in request.roster}
        aggregator = self.aggregator(request)
        for machine in machines.values():
            aggregator.on_join(machine.on_proposal(request))
        for machine in machines.values():
            machine.on_joins(aggregator.joins)
        return aggregator, machines, aggregator.joins

    def total(
        self, values: Mapping[PartnerId, NDArray[np.int64]], request: SumRequest
    ) -> NDArray[np.int64]:
        """One whole attempt."""
        aggregator, machines, _ = self.joined(request)
        for name, machine in machines.items():
            words, upload = machine.mask(values[name])
            aggregator.on_upload(upload, words)
        return aggregator.total()


def federation(count: int) -> Federation:
    return Federation(tuple(f"p{number:02d}" for number in range(count)))
