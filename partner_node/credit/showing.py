"""A history that an applicant shows: verified at the lender before anybody is asked (12.6).

What a caller sends becomes a fact by this and by nothing else. The order is that of what it
costs: the policy and the consent, the paper with its issuer's key and list, then the person's
pseudonym, for which key holders may have to be asked. Each refusal names its rule, and leaves
nothing behind.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta

from consortium.credit.attestation import (
    Attestation,
    Checked,
    Revocations,
    SignedAttestation,
    Validity,
    check_attestation,
    plain_revocations,
    trusted_revocations,
)
from consortium.credit.attested import AttestedFacts, features_of
from consortium.credit.policy import AttestationRules
from consortium.credit.terms import ConsentPurpose
from consortium.crypto.keys import VerifyKey
from consortium.documents import parse_document
from consortium.errors import (
    AttestationError,
    DecodeError,
    DigestMismatchError,
    ManifestError,
    RiskWeaveError,
    SignatureError,
    TransportError,
)
from consortium.ids import PartnerId, PersonToken
from consortium.manifest import Manifest
from partner_node.answers import Shown
from partner_node.credit.forms import Application
from partner_node.credit.storage_attested import KeptList

_SHARE = 0.4
"""Of a decision's time, for the pseudonym."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowingPorts:
    """What verifying needs of the node."""

    member: PartnerId
    manifest: Callable[[], Manifest]
    """In force here; ManifestError before one is."""
    barred: Callable[[Manifest], frozenset[PartnerId]]
    """Members whose identities the log has revoked. Blocks."""
    token: Callable[[str, float], Awaitable[tuple[int, PersonToken]]]
    """Epoch and pseudonym of an identifier, within so many seconds; TransportError."""
    newest_list: Callable[[PartnerId], KeptList | None]
    """Of what was taken of an issuer. Blocks."""


class Showing:
    """Verifies what applicants show. One event loop."""

    def __init__(self, ports: ShowingPorts) -> None:
        self._ports = ports

    async def verified(
        self,
        asked: Application,
        rules: AttestationRules | None,
        *,
        today: date,
        deadline_ms: int,
    ) -> tuple[AttestedFacts, Shown]:
        """What the application's attestation says; its facts are not scored yet.

        Args:
            asked: With an attestation; its consents as this node knows them. Private.
            rules: Of the policy in force; None: it takes none.
            today: The partner's date.
            deadline_ms: Time of the decision.

        Raises:
            AttestationError: with the rule that it breaks (credit path 12.6).
            TransportError: whose it is cannot be told now.
        """
        if rules is None:
            raise AttestationError("this lender's policy takes no attestations", rule="policy")
        if not any(
            one.purpose is ConsentPurpose.ATTESTATION and one.allows(today)
            for one in asked.consents
        ):
            raise AttestationError("no consent to ATTESTATION is in force", rule="consent")
        if not asked.person:
            raise AttestationError("nobody is named who could show it", rule="person")
        checked, listed = await asyncio.to_thread(self._paper, asked.attestation, rules, today)
        one = checked.attestation
        await self._check_person(one, asked.person, deadline_ms)
        facts = AttestedFacts(
            digest=one.digest,
            issuer=one.issuer,
            issued_on=one.issued_on,
            expires_on=one.expires_on,
            months=one.months,
            worst_dpd=one.worst_dpd,
            utilisation=one.utilisation,
            cause=one.cause,
            listing=listed.digest,
            number=listed.number,
            listed_on=min(listed.listed_on, today),
            scored=False,
        )
        return facts, Shown(issuer=one.issuer, features=features_of(one))

    def _paper(
        self, data: bytes, rules: AttestationRules, today: date
    ) -> tuple[Checked, KeptList]:
        """All that the paper, the manifest and the issuer's list say, whoever shows it."""
        try:
            one = parse_document(SignedAttestation, data).attestation
        except DecodeError:
            raise AttestationError("no attestation of this form", rule="form") from None
        issuer = self._issuer(one)
        listed, revocations = self._list(one.issuer, rules, today)
        try:
            checked = check_attestation(
                data,
                issuer=issuer,
                subject=(one.epoch, one.subject),
                revocations=revocations,
                today=today,
            )
        except SignatureError:
            raise AttestationError("its signature does not hold", rule="altered") from None
        if checked.validity is not Validity.VALID:
            raise AttestationError("whether it was taken back since is not known", rule="list")
        return checked, listed

    def _issuer(self, one: Attestation) -> tuple[PartnerId, VerifyKey]:
        ports = self._ports
        if one.issuer == ports.member:
            raise AttestationError("it is this lender's own: its rows say the same", rule="own")
        try:
            manifest = ports.manifest()
            member = manifest.member(one.issuer)
        except ManifestError:
            text = "the issuer is no active member of the manifest"
            raise AttestationError(text, rule="issuer") from None
        if one.issuer in ports.barred(manifest):
            raise AttestationError("the issuer's identity was revoked", rule="issuer")
        return member.id, VerifyKey(bytes.fromhex(member.identity))

    def _list(
        self, issuer: PartnerId, rules: AttestationRules, today: date
    ) -> tuple[KeptList, Revocations]:
        """The newest list that was taken, as long as it counts."""
        listed = self._ports.newest_list(issuer)
        if listed is None:
            text = "no list of the issuer was taken: riskweave desk take-revocations"
            raise AttestationError(text, rule="list")
        if today - listed.listed_on > timedelta(days=rules.list_days):
            text = f"the newest list here is of {listed.listed_on}, over {rules.list_days} days"
            raise AttestationError(text, rule="list")
        try:
            found = trusted_revocations(
                plain_revocations(listed.document),
                digest=listed.digest,
                checkpoint_on=min(listed.listed_on, today),
            )
        except (DecodeError, DigestMismatchError):
            raise AttestationError("the list here is not what was taken", rule="list") from None
        return listed, found

    async def _check_person(self, one: Attestation, person: str, deadline_ms: int) -> None:
        try:
            seen = await self._ports.token(person, deadline_ms * _SHARE / 1_000)
        except RiskWeaveError as error:
            text = f"person: whose attestation it is cannot be told now ({error})"
            raise TransportError(text) from error
        if seen != (one.epoch, one.subject):
            raise AttestationError(
                "the attestation is another person's, or of another epoch", rule="person"
            )
