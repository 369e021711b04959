"""Key holders of one epoch for a benchmark, their shares cut from a key that is known here."""

import hashlib
from dataclasses import dataclass

from consortium.crypto.keys import IdentityKey, Secret
from consortium.crypto.ristretto import Point, base_mult, scalar_stream
from consortium.identity.ceremony import EpochShare, Holding
from consortium.identity.epoch_steps import EpochKey, KeyHolder
from consortium.identity.evaluation import OprfParty
from consortium.identity.shares import share_at, threshold_of
from consortium.ids import PartnerId, digest_of
from consortium.manifest import Manifest, Member, Policy, Role, ScoringPolicy

EPOCH = 1


@dataclass(frozen=True, slots=True)
class KeyHolders:
    """All partners of a federation, each with its share."""

    parties: tuple[OprfParty, ...]
    threshold: int

    @property
    def servers(self) -> tuple[PartnerId, ...]:
        """S: the first t."""
        return tuple(party.member for party in self.parties[: self.threshold])


def key_holders(count: int) -> KeyHolders:
    """``count`` partners and their threshold ``⌈2n/3⌉``."""
    names = [PartnerId(f"bank_{index:02d}") for index in range(1, count + 1)]
    identities = {name: IdentityKey.from_secret(secret_of(name)) for name in names}
    threshold = threshold_of(count)
    coefficients = scalar_stream(secret_of("polynomial"), threshold)
    shares = {name: share_at(coefficients, index) for index, name in enumerate(names, 1)}
    holders = tuple(
        KeyHolder(member=name, index=index, public=base_mult(shares[name]))
        for index, name in enumerate(names, 1)
    )
    key = EpochKey(
        epoch=EPOCH,
        attempt=1,
        threshold=threshold,
        holders=holders,
        group_key=Point(base_mult(coefficients[0])),
        transcript=digest_of(b"transcript"),
        previous=None,
    )
    manifest = _manifest(names, identities)
    parties = tuple(
        OprfParty(
            manifest=manifest,
            member=name,
            identity=identities[name],
            holding=Holding(
                key=key,
                share=EpochShare(
                    epoch=EPOCH, attempt=1, index=index, share=Secret(shares[name])
                ),
            ),
        )
        for index, name in enumerate(names, 1)
    )
    return KeyHolders(parties, threshold)


def secret_of(name: str) -> Secret:
    """32 bytes of a name."""
    return Secret(hashlib.sha256(name.encode()).digest())


def _manifest(names: list[PartnerId], identities: dict[PartnerId, IdentityKey]) -> Manifest:
    members = tuple(
        Member(
            id=name,
            index=index,
            role=Role.PARTNER,
            identity=identities[name].public.hex(),
            agreement="",
            witness="",
            tls_spki=digest_of(name.encode()),
            families=(),
        )
        for index, name in enumerate(names, 1)
    )
    policy = Policy(
        min_partners=2,
        max_partners_per_person=2,
        delta="0.000001",
        max_epsilon_per_run="3",
        max_epsilon_lifetime="8",
        model_kinds=("scorecard",),
        code=(),
        vote_quorum=2,
        scoring=ScoringPolicy(epoch=EPOCH),
    )
    return Manifest(
        federation="bench",
        version=1,
        previous=None,
        not_before=0,
        schema=digest_of(b"schema"),
        members=members,
        policy=policy,
    )
