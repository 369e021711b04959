"""Every error of the project, on one page.

RiskWeaveError                    carries: code, fault, a text fit for the other party
├── ConfigurationError            ours: correct the file, start again
│   ├── SchemaError               the feature schema
│   ├── PolicyError               a policy pack, a partner's policy or its catalogue
│   └── IdentifierError           a name that is not of its form
├── DataError                     the table's owner: nothing was used, nothing left
│   ├── ShapeError, DomainError   an array that is ragged, or holds NaN or infinity
│   ├── ForbiddenFieldError       a fact that no rule may see
│   ├── ConsentMissingError       a use that nobody consented to
│   ├── CostCapError              a price that the law of the place does not allow
│   ├── NotConfirmedError         a contract whose cost sheet was not read and confirmed
│   ├── NotFoundError             an id that nothing here has
│   └── PersonError               an identifier that is not of the federation's form
├── ProtocolError                 the sender's: drop the message, log, go on
│   ├── DecodeError               bytes that are not the message they claim to be
│   ├── VersionError              another protocol version
│   ├── MessageTooLargeError      refused before it was parsed
│   ├── OutOfOrderError           a message that may not follow what was
│   ├── RefusalError              a node says no, with a code of R01 to R22 (protocol 3.8)
│   │   └── BudgetExceededError   nobody's fault: the right answer (R12)
│   ├── RepeatedKeyError          an idempotency key that came with another question
│   └── ScoreRefusalError         the scoring stream says no: S01 to S18 (protocol 7.15)
├── TrustError                    a signature, proof or view fails: stop, tell the operator
│   ├── SignatureError            the signer's
│   ├── CertificateError          the peer's certificate is wrong, expired or unknown
│   │   └── RevokedError          the peer's identity was revoked, for good
│   ├── ManifestError             a manifest that is not the pinned one, or is not signed by all
│   ├── LogError                  the log's operator: a head that is not grown from the last one
│   │   ├── ProofError            an inclusion or consistency proof that leads elsewhere
│   │   ├── RollbackError         a head smaller than one that was cosigned
│   │   ├── ForkError             another root at the same size
│   │   └── CosignatureError      too few witnesses, or too long ago
│   ├── AttestationError          a history that is expired, revoked or of somebody else
│   └── DigestMismatchError       content that is not what its name says
├── EnrolmentError                a join token that is unknown, used or expired
├── ReasonMissingError            ours, a defect: a decline that tells no true reason
├── StorageError                  disk full, database locked or of another version
│   └── DeposedError              another replica of the coordinator leads since
└── TransportError                the peer is not reachable, or left
    └── StandbyError              a replica that does not lead: ask the next address
"""

from enum import StrEnum


class RefusalCode(StrEnum):
    """Why a node refuses (protocol 3.8). A refusal never says anything about data."""

    MANIFEST = "R01"
    MEMBER = "R02"
    SELF_ABSENT = "R03"
    QUORUM = "R04"
    PLAN = "R05"
    REPEATED = "R06"
    MODEL = "R07"
    CHECKPOINT = "R08"
    PREVIOUS_ROUND = "R09"
    NOISE = "R10"
    SHAPE = "R11"
    BUDGET = "R12"
    ATTEMPTS = "R13"
    JOIN_SIGNATURE = "R14"
    SPLIT_VIEW = "R15"
    CHAIN = "R16"
    ZERO_SECRET = "R17"  # noqa: S105 - a code, not a password
    OVERFLOW = "R18"
    VETO = "R19"
    REVOKED = "R20"
    SEED_WINDOW = "R21"
    DATA = "R22"
    """Ours: the table failed its own checks; which one stays at the node."""


class ScoreRefusal(StrEnum):
    """Why something on the scoring stream is refused (protocol 7.15). Never about a person."""

    MANIFEST = "S01"
    """No manifest in force here, or another one."""
    REQUESTER = "S02"
    """The asker is no active partner, or not the one whose stream it came on."""
    SIGNATURE = "S03"
    ROSTER = "S04"
    """Unsigned, stale, without the asker or this node, or below the floor."""
    MODEL = "S05"
    """A model that this node does not serve."""
    DEADLINE = "S06"
    QUOTA = "S07"
    PURPOSE = "S08"
    """Unknown purpose, or a receipt that does not allow it."""
    REPLAY = "S09"
    DIFFERENCING = "S10"
    """Another roster for the same person than the retry rule allows (protocol 7.9)."""
    MALFORMED = "S11"
    """Sizes, seals or digests that do not fit together."""
    DELIVERY = "S12"
    """The manifest's delivery mode does not let this partner ask."""
    EPOCH = "S13"
    POINT = "S14"
    """Not a valid group element, or the identity."""
    PROOF = "S15"
    """A share's proof does not verify (protocol 6.4)."""
    SERVERS = "S16"
    """Not exactly t servers with this node among them (protocol 6.5)."""
    ANSWER = "S17"
    """An answer's signature, context or size is wrong, or the sum's sentinel is."""
    INCOMPLETE = "S18"
    """A partner of the roster did not answer."""


class RiskWeaveError(Exception):
    """The root. ``public`` is the text that may be shown to another party."""

    code = "error"
    public = "internal error"

    def __str__(self) -> str:
        return " ".join(str(arg) for arg in self.args)


class ConfigurationError(RiskWeaveError):
    """Correct the file named in the text and start again."""

    code = "configuration"
    public = "misconfigured"


class SchemaError(ConfigurationError):
    """The feature schema breaks a rule; the text names the field, the value and the rule."""

    code = "schema"
    public = "schema refused"


class PolicyError(ConfigurationError):
    """A pack, policy or catalogue breaks a rule.

    The text names file, line, field, the value seen and what is expected.
    """

    code = "policy"
    public = "policy refused"


class IdentifierError(ConfigurationError):
    """A name that is not of its form."""

    code = "identifier"
    public = "bad identifier"

    def __init__(self, kind: str, seen: str, expected: str) -> None:
        super().__init__(f"{kind} {seen[:80]!r} is not {expected}")


class DataError(RiskWeaveError):
    """The table does not fit the schema. The text stays at its owner."""

    code = "data"
    public = "local data refused"


class ShapeError(DataError):
    """An array of the wrong shape; never squeezed, never broadcast."""

    code = "shape"


class DomainError(DataError):
    """A number outside its domain: NaN, infinity, an empty table."""

    code = "domain"


class ForbiddenFieldError(DataError):
    """A fact that no rule may see; the text names the field, never its value."""

    code = "forbidden_field"
    public = "a fact may not be used"


class ConsentMissingError(DataError):
    """Something was asked for that nobody consented to; the text names the purpose."""

    code = "consent"
    public = "consent missing"


class CostCapError(DataError):
    """A credit that would cost more a year than the pack's cap."""

    code = "cost_cap"
    public = "costs more than the cap"


class NotConfirmedError(DataError):
    """A contract that names no cost sheet that was shown long enough and confirmed."""

    code = "not_confirmed"
    public = "cost sheet not confirmed"


class PersonError(DataError):
    """An identifier that is not of the federation's form; the text never shows it."""

    code = "person"


class NotFoundError(DataError):
    """Something was asked for by an id that nothing here has."""

    code = "not_found"
    public = "nothing of this id"


class ProtocolError(RiskWeaveError):
    """The sender's fault: the message is dropped."""

    code = "protocol"
    public = "protocol error"


class DecodeError(ProtocolError):
    """Bytes that are not the message they claim to be."""

    code = "decode"
    public = "message not understood"


class VersionError(ProtocolError):
    """The peer speaks another protocol version."""

    code = "version"
    public = "unknown protocol version"

    def __init__(self, seen: int, expected: int) -> None:
        super().__init__(f"peer speaks protocol version {seen}, this side speaks {expected}")


class MessageTooLargeError(ProtocolError):
    """A message over its limit, refused before it was parsed."""

    code = "too_large"
    public = "message over the limit"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"message of {size} bytes is over the limit of {limit}")


class OutOfOrderError(ProtocolError):
    """A message that may not follow what was."""

    code = "out_of_order"
    public = "message out of order"


class RefusalError(ProtocolError):
    """A node refuses to take part; ``reason`` is one of the codes of protocol 3.8."""

    code = "refused"

    def __init__(self, reason: RefusalCode, detail: str) -> None:
        super().__init__(f"{reason.value} {detail}")
        self.reason = reason
        self.public = reason.value


class BudgetExceededError(RefusalError):
    """The owner's privacy budget does not cover the request (R12)."""

    code = "budget"

    def __init__(self, detail: str) -> None:
        super().__init__(RefusalCode.BUDGET, detail)


class RepeatedKeyError(ProtocolError):
    """An idempotency key came with another question than before (protocol 13.7)."""

    code = "repeated_key"
    public = "idempotency key used for another question"


class ScoreRefusalError(ProtocolError):
    """Something on the scoring stream is refused; ``reason`` is one of protocol 7.15."""

    code = "score_refused"

    def __init__(self, reason: ScoreRefusal, detail: str) -> None:
        super().__init__(f"{reason.value} {detail}")
        self.reason = reason
        self.public = reason.value


class TrustError(RiskWeaveError):
    """A signature, proof or view fails. Stop and tell the operator."""

    code = "trust"
    public = "not trusted"


class SignatureError(TrustError):
    """A signature does not verify under the key it should."""

    code = "signature"
    public = "bad signature"


class CertificateError(TrustError):
    """The peer's certificate is wrong, expired, or not the one in the manifest."""

    code = "certificate"
    public = "certificate refused"


class RevokedError(CertificateError):
    """An identity that was revoked: only another one, enrolled anew, is let in again."""

    code = "revoked"
    public = "this identity was revoked"


class ManifestError(TrustError):
    """The manifest is not the pinned one, or is not signed by all who must."""

    code = "manifest"
    public = "manifest refused"


class LogError(TrustError):
    """The transparency log is not what its operator says. Show both heads to everybody."""

    code = "log"
    public = "log refused"


class ProofError(LogError):
    """An inclusion or consistency proof does not lead to the root that it should."""

    code = "proof"


class RollbackError(LogError):
    """A head of the log is smaller than one that this witness has cosigned."""

    code = "rollback"

    def __init__(self, seen: int, cosigned: int) -> None:
        super().__init__(f"head of size {seen} after one of size {cosigned}")


class ForkError(LogError):
    """Two heads of the log of one size have different roots."""

    code = "fork"

    def __init__(self, size: int, seen: str, cosigned: str) -> None:
        super().__init__(f"two roots at size {size}: {seen} and, cosigned before, {cosigned}")


class CosignatureError(LogError):
    """A head counts for nothing: too few witnesses cosigned it, or too long ago."""

    code = "cosignature"


class AttestationError(TrustError):
    """A history attestation that is expired, revoked, or shown for another person."""

    code = "attestation"
    public = "attestation refused"

    def __init__(self, detail: str, *, rule: str) -> None:
        super().__init__(detail)
        self.rule = rule
        """Which rule it breaks, in one word (credit_path.md, 12.2)."""


class DigestMismatchError(TrustError):
    """Content that is not what its name says."""

    code = "digest"
    public = "digest mismatch"

    def __init__(self, what: str, seen: str, expected: str) -> None:
        super().__init__(f"{what} has digest {seen}, expected {expected}")


class EnrolmentError(RiskWeaveError):
    """A join token that is unknown, used, expired or for somebody else."""

    code = "enrolment"
    public = "join token refused"


class ReasonMissingError(RiskWeaveError):
    """A decline without a reason that was scored or ruled (credit 4.12): a defect of ours."""

    code = "reason_missing"


class StorageError(RiskWeaveError):
    """The store cannot do it: disk full, locked, or of another version."""

    code = "storage"
    public = "storage failure"


class DeposedError(StorageError):
    """Another replica of the coordinator leads since: nothing is written here any more."""

    code = "deposed"
    public = "another replica of the coordinator leads"


class TransportError(RiskWeaveError):
    """The peer is not reachable, or left in the middle."""

    code = "transport"
    public = "unreachable"


class StandbyError(TransportError):
    """A replica that does not lead: the next address may."""

    code = "standby"
    public = "a standby: another replica of the coordinator leads; ask the next address"
