"""Who may speak to this coordinator: enrolment, certificates, manifests, the greeting.

The coordinator collects the members' keys and signatures and passes them on. It cannot make
a manifest valid: nodes check every signature themselves (protocol 2.3). What is enforced
here keeps strangers and stale configurations off the streams.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from consortium.canonical import Label, canonical_json
from consortium.codec import StreamKind
from consortium.crypto.keys import IdentityKey, Secret, verify_signature
from consortium.crypto.statements import (
    enrolment_statement,
    renewal_statement,
    welcome_statement,
)
from consortium.errors import (
    CertificateError,
    ConfigurationError,
    EnrolmentError,
    ManifestError,
)
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId, parse_partner_id
from consortium.manifest import (
    Manifest,
    Member,
    Policy,
    Role,
    manifest_bytes,
    parse_manifest,
    verify_manifest,
)
from consortium.messages import (
    PROTOCOL_VERSION,
    EnrolmentRequest,
    Hello,
    ManifestBundle,
    Renewal,
    Renewed,
    Signed,
    Welcome,
)
from coordinator.audit_log import adoption_of
from coordinator.authority import (
    Authority,
    Peer,
    peer_of,
    same_digest,
    secret_digest,
    spki_of_request,
)
from coordinator.member_storage import TokenRow
from coordinator.revocation_storage import Standing
from coordinator.storage import Store

COORDINATOR_ID = PartnerId("coordinator")
COORDINATOR_INDEX = 65535
"""Above every partner's: theirs count up from 1 in order of enrolment."""

OVERLAP_S = 86_400
"""How long the TLS key before a renewal is let in: a node that was killed in the middle of it
has the old one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What the coordinator is known by. ``identity`` signs its greetings."""

    identity: IdentityKey
    witness: bytes
    """Public key of the log's heads (protocol 8.1)."""
    tls_spki: Digest
    software: str


class Membership:
    """The members and their manifests, over the store. ``now`` gives seconds, UTC."""

    def __init__(self, store: Store, own: Own, *, now: Callable[[], int]) -> None:
        self._store = store
        self._own = own
        self._now = now
        self._standing = Standing(store)
        self._complete: dict[Digest, Manifest] = {}

    # --- enrolment (protocol 12.1) ------------------------------------------------------------

    def enrol(self, request: EnrolmentRequest, authority: Authority) -> bytes:
        """Check the token and the keys, write the member, return its certificate (DER).

        Raises:
            EnrolmentError: the token is unknown, used, expired or for another partner, the
                certificate request is not one over a P-256 key, or a key is one of an
                identity that was revoked. Fault: the node.
            SignatureError: the request is not signed with the identity key in it.
        """
        token = self._redeemable(request)
        verify_signature(
            request.identity, Label.ENROLMENT, enrolment_statement(request), request.signature
        )
        if bool(request.agreement) is not (token.role is Role.PARTNER):
            raise EnrolmentError(f"{request.partner}: keys of another role than its token's")
        self._check_fresh(request)
        certificate = authority.issue_partner(request.partner, request.csr, now=self._now())
        member = Member(
            id=request.partner,
            index=0,
            role=token.role,
            identity=request.identity.hex(),
            agreement=request.agreement.hex(),
            witness=request.witness.hex(),
            tls_spki=spki_of_request(request.csr),
            families=token.families,
        )
        if not self._store.members.redeem(token.secret_sha256, member, self._now()):
            raise EnrolmentError(f"join token for {request.partner} was used already")
        return certificate

    def _check_fresh(self, request: EnrolmentRequest) -> None:
        """Who was revoked comes in again with new keys, or not at all (protocol 2.7)."""
        keys = {request.identity.hex(), request.agreement.hex(), request.witness.hex()}
        if (keys | {spki_of_request(request.csr)}) & self._standing.keys():
            raise EnrolmentError(f"{request.partner}: keys of an identity that was revoked")

    def _redeemable(self, request: EnrolmentRequest) -> TokenRow:
        offered = secret_digest(Secret(request.token))
        # All are compared, so that time does not tell which are known.
        found = [
            t for t in self._store.members.tokens() if same_digest(t.secret_sha256, offered)
        ]
        if not found:
            raise EnrolmentError(f"unknown join token offered for {request.partner}")
        token = found[0]
        if token.used_at is not None:
            raise EnrolmentError(f"join token for {token.partner} was used already")
        if self._now() >= token.expires:
            raise EnrolmentError(f"join token for {token.partner} expired at {token.expires}")
        if token.partner != request.partner:
            raise EnrolmentError(
                f"join token for {token.partner} was offered by {request.partner}"
            )
        return token

    # --- certificates (protocol 2.5) ----------------------------------------------------------

    def authenticate(self, pem: bytes, *, listed: bool) -> PartnerId:
        """Return whose certificate this is; TLS has checked its chain.

        Args:
            pem: The peer's certificate.
            listed: Whether the peer must also be in the newest complete manifest, if there
                is one. Those who have yet to sign may fetch and sign, nothing else.

        Raises:
            CertificateError: unreadable, expired, not the enrolled one, or not the one in
                the manifest. Fault: the peer.
            RevokedError: its identity was revoked.
        """
        peer = peer_of(pem, now=self._now())
        enrolled = self._store.members.get(peer.partner)
        keys = {} if enrolled is None else self._store.members.tls_keys(enrolled)
        if enrolled is None or not self._is_known(peer.spki, enrolled, keys):
            raise CertificateError(f"certificate of {peer.partner} is not the enrolled one")
        self._standing.check(enrolled)
        manifest = self.current() if listed else None
        if manifest is not None:
            _check_listed(peer, manifest, enrolled, renewed=peer.spki in keys)
        return peer.partner

    def _is_known(self, spki: Digest, enrolled: Member, keys: Mapping[Digest, int]) -> bool:
        """Whether it is the member's newest TLS key, or the one before within its overlap."""
        return same_digest(enrolled.tls_spki, spki) or keys.get(spki, 0) > self._now()

    def renew(self, renewal: Renewal, peer: PartnerId, authority: Authority) -> Renewed:
        """Give a member a certificate for another TLS key (protocol 2.6).

        The manifest stays as it is: the identity key in it answers for the new key.

        Raises:
            SignatureError: the request is not signed with the enrolled identity key.
            EnrolmentError: no request over a P-256 key, or over one that was used before.
        """
        member = self._store.members.get(peer)
        if member is None:
            raise EnrolmentError(f"{peer} is not enrolled")
        statement = renewal_statement(peer, renewal.csr)
        verify_signature(
            bytes.fromhex(member.identity), Label.RENEWAL, statement, renewal.signature
        )
        spki = spki_of_request(renewal.csr)
        used = {member.tls_spki, *self._store.members.tls_keys(member)} | self._standing.keys()
        if spki in used:
            raise EnrolmentError(f"{peer}: a renewal over a key that was used before")
        until = self._now() + OVERLAP_S
        certificate = authority.issue_partner(peer, renewal.csr, now=self._now())
        self._store.members.renew_tls(member, spki, until)
        return Renewed(certificate=certificate, until=until)

    # --- manifests (protocol 2.2 to 2.4) ------------------------------------------------------

    def propose(self, federation: str, schema: Schema, policy: Policy) -> Manifest:
        """Draft the next manifest: all enrolled members under this schema and policy.

        Who was revoked stays in it by name and index, as ``revoked``.

        Raises:
            ConfigurationError: fewer partners than the policy's own floor or quorum.
        """
        current, revoked = self.current(), self._store.members.revoked()
        members = (
            replace(one, active=one.identity not in revoked)
            for one in self._store.members.all()
        )
        manifest = Manifest(
            federation=federation,
            version=self._last_version() + 1,
            previous=None if current is None else current.digest,
            not_before=self._now(),
            schema=schema.digest,
            members=(*members, self._self()),
            policy=policy,
        )
        partners = len(manifest.partners)
        if partners < max(policy.min_partners, policy.vote_quorum):
            raise ConfigurationError(
                f"{partners} partners are enrolled; the policy wants min_partners = "
                f"{policy.min_partners} and vote_quorum = {policy.vote_quorum}"
            )
        text = canonical_json(schema.to_canonical())
        bundle = ManifestBundle(body=manifest_bytes(manifest), signatures=(), schema=text)
        self._store.manifests.add(manifest.digest, manifest.version, bundle, self._now())
        return manifest

    def bundle(self, digest: Digest | None) -> ManifestBundle:
        """The manifest of that digest, or the newest draft; raise ManifestError if none."""
        known = self._store.manifests.digests()
        wanted = digest or (known[0] if known else None)
        found = None if wanted is None else self._store.manifests.get(wanted)
        if found is None:
            raise ManifestError(
                f"no manifest {digest}" if digest else "no manifest is proposed"
            )
        return found

    def sign(self, signed: Signed, *, peer: PartnerId, entry: bytes | None = None) -> bool:
        """Keep a member's signature; return whether it made the newest manifest complete.

        Args:
            signed: The signature.
            peer: Whose stream it came on.
            entry: ``manifest.adopted`` of the member, appended with it; None: no log here.

        Raises:
            DecodeError: the entry is not that of this signature. Fault: the peer.
            ManifestError: unknown manifest, not a member, or another member than ``peer``.
            SignatureError: it does not verify. Fault: the peer.
        """
        if signed.member != peer:
            raise ManifestError(f"{peer} sent a signature of {signed.member}")
        before = self.current()
        manifest = parse_manifest(self.bundle(signed.digest).body)
        member = manifest.member(signed.member)
        message = bytes.fromhex(signed.digest)
        identity = bytes.fromhex(member.identity)
        verify_signature(identity, Label.MANIFEST_SIGNATURE, message, signed.signature)
        entries = () if entry is None else adoption_of(entry, signed, manifest)
        fresh = self._store.log.missing(entries)
        self._store.manifests.add_signature(signed, self._now(), entries=fresh)
        return self.current() != before

    def current(self) -> Manifest | None:
        """The newest manifest that all its signers have signed."""
        for digest in self._store.manifests.digests():
            if digest in self._complete:
                return self._complete[digest]
            if (manifest := self._if_complete(digest)) is not None:
                self._complete[digest] = manifest
                return manifest
        return None

    def _if_complete(self, digest: Digest) -> Manifest | None:
        bundle = self.bundle(digest)
        manifest = parse_manifest(bundle.body)
        try:
            verify_manifest(manifest, bundle.signatures, now=self._now())
        except ManifestError:
            return None
        return manifest

    def _last_version(self) -> int:
        known = self._store.manifests.digests()
        return parse_manifest(self.bundle(known[0]).body).version if known else 0

    def _self(self) -> Member:
        return Member(
            id=COORDINATOR_ID,
            index=COORDINATOR_INDEX,
            role=Role.COORDINATOR,
            identity=self._own.identity.public.hex(),
            agreement="",
            witness=self._own.witness.hex(),
            tls_spki=self._own.tls_spki,
            families=(),
        )

    # --- the greeting (protocol 12.2) ---------------------------------------------------------

    def greet(self, hello: Hello, peer: PartnerId, kind: StreamKind) -> Welcome:
        """Answer a node's first frame with proof of the identity in the manifest.

        Raises:
            CertificateError: the node names another partner than its certificate does.
            RevokedError: it was revoked since its call began.
            ManifestError: it pinned another manifest than the newest complete one.
        """
        if hello.partner != peer:
            raise CertificateError(f"certificate of {peer}, greeting of {hello.partner}")
        current = self.current()
        if current is None or hello.manifest != current.digest:
            here = "none" if current is None else current.digest
            raise ManifestError(f"{peer} works under {hello.manifest}, in force is {here}")
        self._standing.check(current.member(peer))
        if current.member(peer).role is not Role.PARTNER:
            raise CertificateError(
                f"{peer} is no partner: it takes part in no sum and no score"
            )
        statement = welcome_statement(hello.nonce, hello.manifest, peer, kind)
        return Welcome(
            protocol_version=PROTOCOL_VERSION,
            software=self._own.software,
            manifest=hello.manifest,
            signature=self._own.identity.sign(Label.HELLO, statement),
        )


def _check_listed(peer: Peer, manifest: Manifest, enrolled: Member, *, renewed: bool) -> None:
    """The TLS key is the manifest's, or the manifest's identity key has signed for it."""
    try:
        member = manifest.member(peer.partner)
    except ManifestError as error:
        raise CertificateError(f"{peer.partner} is not in the manifest in force") from error
    vouched = renewed and member.identity == enrolled.identity
    if not vouched and not same_digest(member.tls_spki, peer.spki):
        raise CertificateError(f"certificate of {peer.partner} is not the manifest's")


def partner_for_token(text: str) -> PartnerId:
    """Return the id for a new partner; raise IdentifierError or ConfigurationError."""
    partner = parse_partner_id(text)
    if partner == COORDINATOR_ID:
        raise ConfigurationError(f"{text!r} is the coordinator's own id")
    return partner
