"""Who may be asked now, as the coordinator signs it and nodes check it (protocol 7.2).

A roster's signature is checked once, when it arrives; an inquiry then names it by its version.
An asker may not choose whom it asks: it asks all that the roster lists, except for the retry
of 7.9, which leaves some out.
"""

from dataclasses import replace
from functools import lru_cache

from consortium.canonical import Label, hash_with, lp, u16, u64
from consortium.crypto.keys import IdentityKey, VerifyKey
from consortium.errors import ScoreRefusal, ScoreRefusalError, SignatureError
from consortium.ids import Digest, PartnerId
from consortium.inquiries import Roster
from consortium.manifest import Manifest

LONGEST_VALIDITY = 60
"""Seconds that a roster may be valid ahead."""


def roster_statement(roster: Roster) -> bytes:
    """What the coordinator signs under Label.ROSTER; the signature is not looked at.

    ``manifest ‖ u64(version) ‖ u64(valid_until) ‖ lp(model) ‖ lp(head) ‖ u16(count) ‖
    lp(id)…``; a model or head that is not there has no bytes.
    """
    model, head = bytes.fromhex(roster.model or ""), bytes.fromhex(roster.head or "")
    times = u64(roster.version) + u64(roster.valid_until)
    names = b"".join(lp(name.encode("ascii")) for name in roster.partners)
    bound = bytes.fromhex(roster.manifest) + times
    return bound + lp(model) + lp(head) + u16(len(roster.partners)) + names


def sign_roster(roster: Roster, key: IdentityKey) -> Roster:
    """``roster`` with its signature; the one that it has is not looked at."""
    return replace(roster, signature=key.sign(Label.ROSTER, roster_statement(roster)))


def verify_roster(roster: Roster, manifest: Manifest, *, now: int) -> None:
    """Raise unless the coordinator says so, now, of active partners of this manifest.

    Args:
        roster: As received.
        manifest: The pinned one.
        now: Seconds since 1970, UTC.

    Raises:
        ScoreRefusalError: another manifest (S01); a signature that does not verify, a roster
            out of date or valid for too long, partners that are not sorted or not active
            (S04). Fault: the coordinator.
    """
    if roster.manifest != manifest.digest:
        raise ScoreRefusalError(ScoreRefusal.MANIFEST, "roster under another manifest")
    if not now < roster.valid_until <= now + LONGEST_VALIDITY:
        raise _refusal(f"roster {roster.version} is valid until {roster.valid_until}")
    active = {member.id for member in manifest.partners}
    if list(roster.partners) != sorted(set(roster.partners) & active):
        raise _refusal("roster is not of active partners, sorted")
    coordinator = VerifyKey(bytes.fromhex(manifest.coordinator.identity))
    try:
        coordinator.verify(Label.ROSTER, roster_statement(roster), roster.signature)
    except SignatureError as error:
        raise _refusal("roster is not signed by the coordinator") from error


class Rosters:
    """The verified rosters that are still valid; requests may name any of them."""

    def __init__(self, manifest: Manifest) -> None:
        """Begin with none."""
        self._manifest = manifest
        self._known: dict[int, Roster] = {}
        self._newest = -1
        self._barred: frozenset[PartnerId] = frozenset()

    def bar(self, names: frozenset[PartnerId]) -> None:
        """Know no roster with one of these, now or later: they are revoked (protocol 2.7)."""
        self._barred |= names
        self._known = {
            version: one
            for version, one in self._known.items()
            if not self._barred & set(one.partners)
        }

    def add(self, roster: Roster, *, now: int) -> None:
        """Take a roster as it came.

        Raises:
            ScoreRefusalError: as of ``verify_roster``; or its version is below the newest,
                names another roster already, or it lists somebody who was revoked (S04).
                State unchanged.
        """
        verify_roster(roster, self._manifest, now=now)
        if out := self._barred & set(roster.partners):
            raise _refusal(f"roster {roster.version} lists {min(out)}, who was revoked")
        known = self._known.get(roster.version)
        if known is not None and replace(roster, valid_until=0, signature=b"") != replace(
            known, valid_until=0, signature=b""
        ):
            raise _refusal(f"two rosters of version {roster.version}")
        if roster.version < self._newest:
            raise _refusal(f"roster {roster.version} after {self._newest}")
        self._known = {
            version: one for version, one in self._known.items() if now < one.valid_until
        }
        self._known[roster.version] = roster
        self._newest = roster.version

    def find(self, version: int, *, now: int) -> Roster:
        """The valid roster of that version, or ScoreRefusalError (S04)."""
        roster = self._known.get(version)
        if roster is None or now >= roster.valid_until:
            raise _refusal(f"no valid roster {version} here")
        return roster

    def newest(self, *, now: int) -> Roster:
        """The valid roster of the highest version, or ScoreRefusalError (S04)."""
        return self.find(self._newest, now=now)


def check_members(
    roster: Roster,
    asked: tuple[PartnerId, ...],
    *,
    asker: PartnerId,
    responder: PartnerId,
    retry: bool,
    floor: int,
) -> None:
    """Raise ScoreRefusalError (S04) unless these may be asked together (protocol 7.2, 7.9).

    Args:
        roster: A verified one.
        asked: U of the inquiry, sorted, the asker included.
        asker: q.
        responder: The member that checks; the asker itself may be given.
        retry: Whether the inquiry retries another one: U may then be smaller.
        floor: Fewest responders, of the manifest.
    """
    if asker not in asked or responder not in asked:
        raise _refusal("asker or responder is not in the inquiry's roster")
    if asked != roster.partners and not (retry and set(asked) < set(roster.partners)):
        raise _refusal("the inquiry is not for the roster that it names")
    if len(asked) - 1 < floor:
        raise _refusal(f"{len(asked) - 1} responders, fewer than {floor}")


@lru_cache(maxsize=256)
def members_digest(asked: tuple[PartnerId, ...]) -> Digest:
    """``H(SCORE_MEMBERS ‖ lp(id)…)``: U as it is kept for 30 days (protocol 7.9)."""
    return hash_with(Label.SCORE_MEMBERS, *(lp(name.encode("ascii")) for name in asked))


def _refusal(detail: str) -> ScoreRefusalError:
    return ScoreRefusalError(ScoreRefusal.ROSTER, detail)
