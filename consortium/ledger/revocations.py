"""Which identities are revoked, as the log says it (protocol 2.7).

An entry ``identity.revoked`` is one voice about one identity key. Who may stop a member at
once, and who needs others for it, is decided here alone; coordinator, nodes and audit run the
same machine over the same entries. Nothing takes a revocation back: a member comes in again
under another key, which no earlier voice is about.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from consortium.errors import DecodeError
from consortium.ids import PartnerId
from consortium.ledger.entries import Entry, IdentityRevoked
from consortium.ledger.witness import quorum_of
from consortium.manifest import Manifest, Member, Role

REASONS = ("key_lost", "key_stolen", "left", "expelled")
"""What a voice may give as its reason: a class, for the log is never pruned."""

KEY_BYTES = 32


def check_voice(body: IdentityRevoked) -> None:
    """Raise DecodeError unless reason and key are of their form."""
    if body.reason not in REASONS:
        raise DecodeError(f"identity.revoked: a reason that is none of {', '.join(REASONS)}")
    if len(body.identity) != KEY_BYTES:
        raise DecodeError(f"identity.revoked: a key of {len(body.identity)} bytes")


def enough(voices: Collection[PartnerId], about: IdentityRevoked, manifest: Manifest) -> bool:
    """Whether these voices revoke the identity (protocol 2.7).

    The operator's alone does, and the member's own: a stolen key must be stopped before a
    quorum of people is out of bed. Neither gains by it what it could not have: the operator
    could leave anybody out of every roster, and floors and quorums go on counting the members
    of the manifest. Against an operator that does nothing ``⌈2K/3⌉`` partners are enough, or
    the regulator with one partner.

    Args:
        voices: Whose signed word is there, by id.
        about: What they say; its member and its key.
        manifest: In force.
    """
    members = [one for one in manifest.members if one.active and one.id in voices]
    if any(one.role is Role.COORDINATOR or _is(one, about) for one in members):
        return True
    roles = [one.role for one in members]
    partners = roles.count(Role.PARTNER)
    return partners >= quorum_of(manifest) or (bool(partners) and Role.REGULATOR in roles)


class Revocations:
    """The machine: verified entries in the order of the log, revoked identities out."""

    def __init__(self) -> None:
        """Nobody is revoked."""
        self._voices: dict[bytes, set[PartnerId]] = {}
        self._since: dict[str, int] = {}

    @property
    def since(self) -> Mapping[str, int]:
        """Index of the entry that revoked it, by identity key in hex."""
        return MappingProxyType(self._since)

    def take(self, index: int, entry: Entry, manifest: Manifest) -> bool:
        """Take one entry; whether it revokes an identity that was not revoked before.

        Args:
            index: Where it stands.
            entry: Of any type, its signature verified under ``manifest``.
            manifest: In force there.
        """
        body = entry.body
        if not isinstance(body, IdentityRevoked) or self.revoked_id(entry.actor, manifest):
            return False
        voices = self._voices.setdefault(body.identity, set())
        voices.add(entry.actor)
        if body.identity.hex() in self._since or not enough(voices, body, manifest):
            return False
        self._since[body.identity.hex()] = index
        return True

    def index_of(self, member: Member) -> int | None:
        """Index of the entry that revoked this member's identity; None: it is not revoked."""
        return self._since.get(member.identity)

    def revoked_id(self, name: PartnerId, manifest: Manifest) -> bool:
        """Whether the identity that the manifest has for ``name`` is revoked."""
        found = (one for one in manifest.members if one.id == name)
        return any(self.index_of(one) is not None for one in found)


def barred(identities: Collection[str], manifest: Manifest) -> frozenset[PartnerId]:
    """The members that the manifest calls active and whose identities are revoked.

    Args:
        identities: Revoked keys, in hex.
        manifest: Pinned or in force.
    """
    return frozenset(
        one.id for one in manifest.members if one.active and one.identity in identities
    )


def _is(member: Member, about: IdentityRevoked) -> bool:
    return member.id == about.member and member.identity == about.identity.hex()
