"""Partners with keys under one manifest, and a request for a sum of all of them."""

import hashlib
from dataclasses import dataclass

from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.manifest import Manifest, Member, Policy, Role
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind
from consortium.secagg.chain import Link, link
from consortium.secagg.partner import PartnerFacts, PartnerMachine

LENGTH = 1_000
"""L: attempts of a run of a few hundred rounds."""


@dataclass(frozen=True, slots=True)
class Party:
    """A partner that is about to get the first request of a run."""

    member: PartnerId
    machine: PartnerMachine
    manifest: Manifest
    link: Link
    """Its first."""


def parties(count: int) -> list[Party]:
    """``count`` partners in one federation, sorted by id, each at its first JOIN."""
    names = [PartnerId(f"p{number:02d}") for number in range(count)]
    manifest = Manifest(
        federation="bench",
        version=1,
        previous=None,
        not_before=0,
        schema=_digest("schema"),
        members=tuple(_member(name, index) for index, name in enumerate(names, 1)),
        policy=_policy(),
    )
    heads = {name: Link(0, link(_secret("seed", name), LENGTH, 0)) for name in names}
    return [
        Party(name, PartnerMachine(_facts(manifest, name, heads)), manifest, heads[name])
        for name in names
    ]


def request_for(crowd: list[Party], dimension: int) -> SumRequest:
    """The first gradient sum of a run, over all of ``crowd``."""
    return SumRequest(
        run=RunId("ab" * 16),
        plan=_digest("plan"),
        kind=ReleaseKind.GRADIENT,
        round=1,
        attempt=1,
        roster=tuple(party.member for party in crowd),
        inputs=_digest("inputs"),
        dimension=dimension,
        scale_bits=24,
        variance="1000000",
        head=_digest("head"),
    )


def _facts(manifest: Manifest, name: PartnerId, heads: dict[PartnerId, Link]) -> PartnerFacts:
    return PartnerFacts(
        manifest=manifest,
        member=name,
        identity=IdentityKey.from_secret(_secret("identity", name)),
        agreement=AgreementKey.from_secret(_secret("agreement", name)),
        seed=_secret("seed", name),
        length=LENGTH,
        count=1,
        links={peer: head for peer, head in heads.items() if peer != name},
    )


def _member(name: PartnerId, index: int) -> Member:
    return Member(
        id=name,
        index=index,
        role=Role.PARTNER,
        identity=IdentityKey.from_secret(_secret("identity", name)).public.hex(),
        agreement=AgreementKey.from_secret(_secret("agreement", name)).public.hex(),
        witness="",
        tls_spki=_digest(name),
        families=("all",),
    )


def _policy() -> Policy:
    return Policy(
        min_partners=2,
        max_partners_per_person=1,
        delta="0.000001",
        max_epsilon_per_run="3",
        max_epsilon_lifetime="8",
        model_kinds=("scorecard",),
        code=(),
        vote_quorum=2,
    )


def _secret(use: str, name: PartnerId) -> Secret:
    return Secret(hashlib.sha256(f"{use} {name}".encode()).digest())


def _digest(name: str) -> Digest:
    return digest_of(name.encode())
