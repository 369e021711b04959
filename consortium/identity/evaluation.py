"""Asking t key holders for tokens, and answering as one of them (protocol 6.4, 6.5).

Both sides are pure. The asker's own share needs no proof and leaves nothing; for the others
each proof is checked against ``λ_i·P_i`` of the epoch's record. Quotas are the caller's, who
asks for them between ``OprfServer.check`` and ``OprfServer.answer``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from consortium.canonical import Label, hash_with, lp, u16, u32
from consortium.crypto.keys import IdentityKey, Secret, verify_signature
from consortium.crypto.ristretto import Point, Scalar, scalar_mul, split_points
from consortium.errors import (
    IdentifierError,
    ScoreRefusal,
    ScoreRefusalError,
    SignatureError,
)
from consortium.identity.ceremony import Holding
from consortium.identity.dleq import prove, verify
from consortium.identity.epoch_steps import EpochKey
from consortium.identity.oprf import Blinded, Each, blind_many, combine_many, evaluate
from consortium.identity.shares import lagrange, weighted_public
from consortium.ids import Digest, PartnerId, PersonToken, RequestId, parse_request_id
from consortium.inquiries import MOST_POINTS, OprfReply, OprfRequest
from consortium.manifest import Manifest

PURPOSES = ("load", "score", "dispute")
"""What tokens are asked for; the quotas of protocol 6.6 tell ``load`` from the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfParty:
    """One partner with its share, as an asker and as a key holder."""

    manifest: Manifest
    member: PartnerId
    identity: IdentityKey
    holding: Holding
    barred: frozenset[PartnerId] = frozenset()
    """Whose identities are revoked (protocol 2.7): they are neither answered nor heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfTask:
    """A request that was sent and waits for its replies."""

    request: OprfRequest
    inputs: tuple[bytes, ...] = field(repr=False)
    """Private."""
    blinded: Blinded = field(repr=False)
    own: tuple[Point, ...] | None = field(repr=False)
    """This partner's own share, if it is in S."""


class OprfClient:
    """The asking side (protocol 6.4)."""

    def __init__(self, party: OprfParty) -> None:
        self._party = party

    def ask(
        self,
        inputs: Sequence[bytes],
        *,
        servers: tuple[PartnerId, ...],
        purpose: str,
        request: RequestId,
        entropy: Secret,
        each: Each = map,
    ) -> OprfTask:
        """Blind the inputs and sign the request for the key holders in S.

        Args:
            inputs: 1 to 4,096 of ``person.person_input``. Private.
            servers: S: exactly t holders, sorted; with this partner, if it is one, for its
                own share costs nothing and needs no proof.
            purpose: load, score or dispute.
            request: Fresh.
            entropy: 32 fresh bytes: all blinding comes from them. Secret.
            each: Runs chunks, as in ``oprf``.

        Raises:
            ScoreRefusalError: not 1 to 4,096 inputs (S11), an unknown purpose (S08), or S is
                not t holders (S16).
        """
        party = self._party
        if not 1 <= len(inputs) <= MOST_POINTS:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, f"{len(inputs)} inputs")
        indices = _indices(servers, party.holding.key)
        blinded = blind_many(inputs, entropy, each=each)
        bare = OprfRequest(
            request=request,
            requester=party.member,
            epoch=party.holding.key.epoch,
            servers=servers,
            purpose=_known(purpose),
            points=b"".join(blinded.points),
            signature=b"",
        )
        statement = request_statement(bare, party.manifest.digest)
        signature = party.identity.sign(Label.OPRF_REQUEST, statement)
        own = None
        if party.member in servers:
            weighted = _weighted_share(party.holding, indices)
            own = tuple(evaluate(blinded.points, weighted, each=each))
        return OprfTask(
            request=replace(bare, signature=signature),
            inputs=tuple(inputs),
            blinded=blinded,
            own=own,
        )

    def finish(
        self, task: OprfTask, replies: Sequence[OprfReply], *, each: Each = map
    ) -> list[PersonToken]:
        """Check every reply and combine them to the tokens, in the order of the inputs.

        Raises:
            ScoreRefusalError: a holder refused (its code) or is missing (S18), a reply of
                another request or holder, or two of one (S11), its signature fails (S03), a
                point is none (S14), its proof does not hold (S15). The text names the
                holder: ask another set without it.
        """
        request = task.request
        asked = [name for name in request.servers if name != self._party.member]
        by_member = {reply.member: reply for reply in replies}
        if len(by_member) != len(replies) or not set(by_member) <= set(asked):
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "replies of others than were asked")
        if missing := [name for name in asked if name not in by_member]:
            raise ScoreRefusalError(ScoreRefusal.INCOMPLETE, f"{', '.join(missing)} silent")
        shares: list[Sequence[bytes]] = [] if task.own is None else [task.own]
        for name in asked:
            try:
                shares.append(self._checked(task, by_member[name], each))
            except ScoreRefusalError as error:
                raise ScoreRefusalError(error.reason, f"{name}: {error}") from error
        return combine_many(task.inputs, task.blinded, shares, each=each)

    def _checked(self, task: OprfTask, reply: OprfReply, each: Each) -> list[Point]:
        manifest, key = self._party.manifest, self._party.holding.key
        if reply.member in self._party.barred:
            raise ScoreRefusalError(ScoreRefusal.REQUESTER, "was revoked")
        if reply.request != task.request.request:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "a reply to another request")
        statement = reply_statement(reply, task.request, manifest.digest)
        _verify(manifest, reply.member, Label.OPRF_REPLY, statement, signature=reply.signature)
        if reply.code:
            raise ScoreRefusalError(_code(reply.code), "refused")
        indices = _indices(task.request.servers, key)
        holder = key.holder(reply.member)
        public = weighted_public(indices, holder.index, Point(holder.public))
        points = split_points(reply.points)
        verify(public, task.blinded.points, points, reply.proof, each=each)
        return points


class OprfServer:
    """The answering side (protocol 6.5)."""

    def __init__(self, party: OprfParty) -> None:
        self._party = party

    def check(self, request: OprfRequest) -> int:
        """Return the number of tokens that are asked for: what the quota is asked for.

        Raises:
            ScoreRefusalError: the asker is no active partner, or it or one of S was revoked
                (S02), its signature fails (S03), another epoch (S13), S is not t sorted
                holders with this one among them (S16), an unknown purpose (S08), or not 1 to
                4,096 points (S11).
        """
        party = self._party
        if out := party.barred & {request.requester, *request.servers}:
            raise ScoreRefusalError(ScoreRefusal.REQUESTER, f"{min(out)} was revoked")
        _verify(
            party.manifest,
            request.requester,
            Label.OPRF_REQUEST,
            request_statement(request, party.manifest.digest),
            signature=request.signature,
        )
        if request.epoch != party.holding.key.epoch:
            raise ScoreRefusalError(ScoreRefusal.EPOCH, f"epoch {request.epoch}")
        _indices(request.servers, party.holding.key)
        if party.member not in request.servers:
            raise ScoreRefusalError(ScoreRefusal.SERVERS, "this node is not in S")
        _known(request.purpose)
        points = split_points(request.points)
        if not 1 <= len(points) <= MOST_POINTS:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, f"{len(points)} points")
        return len(points)

    def answer(self, request: OprfRequest, entropy: Secret, *, each: Each = map) -> OprfReply:
        """This holder's share of every point, with one proof for all.

        Args:
            request: As ``check`` let it pass; it is checked again.
            entropy: 32 fresh bytes for the proof. Secret.
            each: Runs chunks, as in ``oprf``.

        Raises:
            ScoreRefusalError: as ``check``; a point is none, or the identity (S14).
        """
        self.check(request)
        party = self._party
        indices = _indices(request.servers, party.holding.key)
        weighted = _weighted_share(party.holding, indices)
        holder = party.holding.key.holder(party.member)
        public = weighted_public(indices, holder.index, Point(holder.public))
        points = split_points(request.points)
        shares = evaluate(points, weighted, each=each)
        proof = prove(weighted, public, points, shares, entropy=entropy, each=each)
        return self._signed(request, b"".join(shares), proof=proof, code="")

    def refuse(self, request: OprfRequest, reason: ScoreRefusal) -> OprfReply:
        """A signed refusal: its code, and nothing else."""
        return self._signed(request, b"", proof=b"", code=reason.value)

    def _signed(
        self, request: OprfRequest, points: bytes, *, proof: bytes, code: str
    ) -> OprfReply:
        party = self._party
        bare = OprfReply(
            request=request.request,
            member=party.member,
            points=points,
            proof=proof,
            code=code,
            signature=b"",
        )
        statement = reply_statement(bare, request, party.manifest.digest)
        return replace(bare, signature=party.identity.sign(Label.OPRF_REPLY, statement))


def request_statement(request: OprfRequest, manifest: Digest) -> bytes:
    """What the asker signs: all fields, the points by their digest (protocol 6.4).

    Raises:
        ScoreRefusalError: a field is not of its form (S11).
    """
    try:
        name = bytes.fromhex(parse_request_id(request.request))
        head = bytes.fromhex(manifest) + name + lp(request.requester.encode())
        if not 0 <= request.epoch < 1 << 16:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "epoch out of range")
        servers = b"".join(lp(server.encode()) for server in request.servers)
        tail = u16(request.epoch) + u32(len(request.servers)) + servers
        return head + tail + lp(request.purpose.encode()) + _points_digest(request.points)
    except (IdentifierError, UnicodeEncodeError) as error:
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, "a field of a request") from error


def reply_statement(reply: OprfReply, request: OprfRequest, manifest: Digest) -> bytes:
    """What the key holder signs: its answer to this request, points and S (protocol 6.4)."""
    head = lp(request_statement(request, manifest)) + lp(reply.member.encode())
    head += _points_digest(reply.points)
    return head + lp(reply.proof) + lp(reply.code.encode())


def _points_digest(points: bytes) -> bytes:
    return bytes.fromhex(hash_with(Label.OPRF_POINTS, points))


def _indices(servers: Sequence[PartnerId], key: EpochKey) -> tuple[int, ...]:
    """Indices of S, or S16: not exactly t holders, sorted and unique."""
    if list(servers) != sorted(set(servers)) or len(servers) != key.threshold:
        raise ScoreRefusalError(
            ScoreRefusal.SERVERS, f"{len(servers)} servers, the threshold is {key.threshold}"
        )
    return tuple(key.holder(server).index for server in servers)


def _weighted_share(holding: Holding, indices: tuple[int, ...]) -> Scalar:
    """``w_i = λ_i·k_i``: it answers for this S and for no other. Secret."""
    weight = lagrange(indices, holding.share.index)
    return scalar_mul(weight, holding.share.scalar)


def _known(purpose: str) -> str:
    if purpose not in PURPOSES:
        raise ScoreRefusalError(ScoreRefusal.PURPOSE, "tokens for no known purpose")
    return purpose


def _code(text: str) -> ScoreRefusal:
    try:
        return ScoreRefusal(text)
    except ValueError:
        return ScoreRefusal.MALFORMED


def _verify(
    manifest: Manifest, name: PartnerId, label: Label, statement: bytes, *, signature: bytes
) -> None:
    active = {member.id: member for member in manifest.partners}
    if name not in active:
        raise ScoreRefusalError(ScoreRefusal.REQUESTER, f"{name[:32]} is no active partner")
    try:
        verify_signature(bytes.fromhex(active[name].identity), label, statement, signature)
    except SignatureError as error:
        raise ScoreRefusalError(ScoreRefusal.SIGNATURE, f"of {name}") from error
