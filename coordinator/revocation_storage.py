"""Who was revoked, over the coordinator's database (protocol 2.7).

A voice is an entry of the log, and whether it is enough is decided in the transaction that
appends it (docs/adr/0027).
"""

import json
from dataclasses import dataclass

import sqlalchemy as sa

from consortium.errors import ManifestError, OutOfOrderError, RevokedError
from consortium.ids import PartnerId
from consortium.ledger.entries import Entry, IdentityRevoked
from consortium.ledger.revocations import check_voice, enough
from consortium.manifest import Manifest, Member, Role
from coordinator.member_storage import REVOCATIONS
from coordinator.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """A member that was revoked, as the operator is shown it."""

    member: PartnerId
    identity: str
    reason: str
    at: int
    by: tuple[PartnerId, ...]
    """Whose voices did it, sorted."""


class Standing:
    """Who was revoked, over the coordinator's database; from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def is_revoked(self, member: Member) -> bool:
        """Whether the member's identity is revoked."""
        return member.identity in self._store.members.revoked()

    def check(self, member: Member) -> None:
        """Raise RevokedError for a member whose identity is revoked."""
        if self.is_revoked(member):
            raise RevokedError(
                f"{member.id}: its identity was revoked; only a new one is let in"
            )

    def keys(self) -> frozenset[str]:
        """Every key of every revoked member, in hex: none of them is enrolled again."""
        query = sa.select(REVOCATIONS.c.public_keys).where(REVOCATIONS.c.effective)
        with self._store.transaction() as connection:
            return frozenset(
                key for text in connection.scalars(query) for key in json.loads(text)
            )

    def all(self) -> tuple[Revoked, ...]:
        """All who were revoked, the oldest first."""
        with self._store.transaction() as connection:
            rows = list(
                connection.execute(sa.select(REVOCATIONS).order_by(REVOCATIONS.c.number))
            )
        return tuple(
            Revoked(
                member=PartnerId(row.member),
                identity=row.identity,
                reason=row.reason,
                at=row.at,
                by=tuple(sorted({one.actor for one in rows if one.identity == row.identity})),
            )
            for row in rows
            if row.effective
        )

    def say(self, entry: Entry, data: bytes, manifest: Manifest, *, at: int) -> bool:
        """Append a voice, and revoke the identity if it is enough with those before it.

        Args:
            entry: ``identity.revoked``, its signature verified under the manifest.
            data: Its bytes.
            manifest: In force.
            at: Seconds, UTC.

        Returns:
            Whether the identity is revoked by it.

        Raises:
            DecodeError: a reason or a key that is not of its form. Fault: the actor.
            ManifestError: about a key that no member of the manifest has, or about the
                coordinator, without whom there is no federation. Fault: the actor.
            OutOfOrderError: the actor has a voice about this key already: the log is never
                pruned. Nothing is appended.
            RevokedError: the actor is revoked itself.
        """
        body = entry.body
        if not isinstance(body, IdentityRevoked):
            raise ManifestError(f"{entry.type} is no voice about an identity")
        member = _meant(body, manifest)
        same = sa.select(REVOCATIONS).where(REVOCATIONS.c.identity == member.identity)
        with self._store.transaction() as connection:
            # First: on a server's database it takes the lock under which all is decided.
            self._store.log.append_within(connection, [data])
            rows = list(connection.execute(same))
            if entry.actor in {row.actor for row in rows}:
                raise OutOfOrderError(f"{entry.actor} has said this of {member.id} before")
            voices = {PartnerId(row.actor) for row in rows} | {entry.actor}
            done = any(row.effective for row in rows)
            revokes = not done and enough(voices, body, manifest)
            keys = (member.identity, member.agreement, member.witness, member.tls_spki)
            connection.execute(
                REVOCATIONS.insert().values(
                    member=member.id,
                    identity=member.identity,
                    actor=entry.actor,
                    reason=body.reason,
                    effective=revokes,
                    public_keys=json.dumps([key for key in keys if key]),
                    at=at,
                )
            )
            if revokes:
                self._store.members.void_tokens(connection, member.id, at)
        return revokes


def _meant(body: IdentityRevoked, manifest: Manifest) -> Member:
    check_voice(body)
    member = manifest.member(body.member)
    if member.role is Role.COORDINATOR or member.identity != body.identity.hex():
        raise ManifestError(f"{body.member}: no identity of the manifest that can be revoked")
    return member
