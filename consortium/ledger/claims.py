"""The audit of what is claimed of a release: epsilons, votes, calibration (8.7 (14) to (18)).

A privacy statement is computed again from the plan and the attempts that the *log* knows, by
the closed formula and both other accountants, and compared field by field with what was
published. So a figure that was typed, rounded down or kept from an earlier run is found.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from consortium.canonical import Label, canonical_json, hash_with, parse_canonical
from consortium.documents import plain_of
from consortium.errors import DecodeError
from consortium.features.bins import private_features
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.entries import (
    AuditChallenge,
    AuditResult,
    Entry,
    Incident,
    ReleaseCandidate,
    ReleaseGate,
    ReleaseServed,
    ReleaseVote,
    StatementPublished,
)
from consortium.ledger.facts import RunFacts, Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.gate_audit import Gates, check_gates, check_served, unstable
from consortium.ledger.run_bodies import RoundSum
from consortium.plan import ModelKind, ReleaseKind
from consortium.privacy.recomputed import epsilons_of, worst_of
from consortium.privacy.statement import statement

RESULTS = frozenset({"passed", "failed", "waived"})
"""What an audit's result may say."""

Fields = Mapping[str, object]
_ROUNDING = Decimal("0.000002")
"""Figures are told to six places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFacts:
    """One version in the log."""

    version: Digest
    run: RunId
    candidate: int
    """Index of its entry."""
    accepted: tuple[PartnerId, ...]
    refused: tuple[PartnerId, ...]
    served: int | None
    gate: ReleaseGate | None
    """The newest."""
    statement: Fields | None
    """As computed again from the log; None where it could not be."""


@dataclass(slots=True, kw_only=True)
class _Release:
    index: int
    body: ReleaseCandidate
    run: RunFacts | None
    votes: dict[PartnerId, tuple[int, ReleaseVote]]
    published: tuple[int, StatementPublished] | None = None
    served: int | None = None
    gates: Gates = field(default_factory=Gates)


def audit_claims(
    timeline: Timeline, runs: tuple[RunFacts, ...], findings: Findings
) -> tuple[ReleaseFacts, ...]:
    """Audit every release candidate, and what is said of audits."""
    known = {run.run: run for run in runs}
    releases: dict[Digest, _Release] = {}
    for index, entry in sorted(timeline.entries.items()):
        _take(timeline, releases, known, (index, entry), findings)
    facts = tuple(_check_release(timeline, one, findings) for one in releases.values())
    for index, version in _closed_versions(runs):
        if version not in releases:
            findings.warn(Check.RELEASE, "release.missing", f"{version} is no candidate", index)
    _check_audits(timeline, runs, releases, findings)
    return facts


def _take(  # noqa: PLR0917 - what is gathered, and from what
    timeline: Timeline,
    releases: dict[Digest, _Release],
    runs: Mapping[RunId, RunFacts],
    at: tuple[int, Entry],
    findings: Findings,
) -> None:
    index, entry = at
    body = entry.body
    if isinstance(body, ReleaseCandidate):
        if body.version in releases:
            findings.error(Check.RELEASE, "release.twice", "a candidate twice", index)
            return
        releases[body.version] = _Release(
            index=index, body=body, run=runs.get(body.run), votes={}
        )
    elif isinstance(body, ReleaseVote | StatementPublished | ReleaseServed | ReleaseGate):
        release = releases.get(body.version)
        if release is None:
            text = f"{entry.type} of a version that is no candidate"
            findings.error(Check.RELEASE, "release.unknown", text, index)
        elif isinstance(body, ReleaseVote):
            _vote(timeline, release, (index, entry.actor, body), findings)
        elif isinstance(body, StatementPublished):
            release.published = (index, body)
        elif isinstance(body, ReleaseGate):
            release.gates.seen.append((index, body))
        else:
            _serve(timeline, release, index, findings)


def _vote(
    timeline: Timeline,
    release: _Release,
    cast: tuple[int, PartnerId, ReleaseVote],
    findings: Findings,
) -> None:
    index, name, vote = cast
    earlier = release.votes.get(name)
    if earlier is not None and vote.number <= earlier[1].number:
        text = f"an earlier vote of {name} is cast again"
        findings.error(Check.RELEASE, "vote.replayed", text, index, earlier[0])
        return
    if vote.manifest != timeline.force[index].digest:
        text = f"the vote of {name} is made under another manifest"
        findings.error(Check.RELEASE, "vote.manifest", text, index)
        return
    release.votes[name] = (index, vote)
    if vote.accept:
        text = f"{name} accepted before candidate and statement were under a cosigned head"
        _check_witnessed(timeline, release, (index, text), findings)


def _check_witnessed(
    timeline: Timeline, release: _Release, said: tuple[int, str], findings: Findings
) -> None:
    """Who votes for a version or serves it holds a cosigned head of what it is (8.6)."""
    index, text = said
    before = max(release.index, 0 if release.published is None else release.published[0])
    if timeline.counted and timeline.entries[index].seq_hint <= before:
        findings.error(Check.RELEASE, "release.unwitnessed", text, index, before)


def _serve(timeline: Timeline, release: _Release, index: int, findings: Findings) -> None:
    """A version is served with its statement, its gate and a quorum of votes (15)."""
    release.served = index
    if release.run is not None and release.run.plan.model is ModelKind.HAZARD:
        text = "a closure model is served as the model of scores: it gives no PD"
        findings.error(Check.RELEASE, "release.kind", text, index, release.index)
    quorum = timeline.force[index].policy.vote_quorum
    text = "served before candidate and statement were under a cosigned head"
    _check_witnessed(timeline, release, (index, text), findings)
    active = {member.id for member in timeline.force[index].partners}
    accepted = [n for n, (_, vote) in release.votes.items() if vote.accept and n in active]
    if len(accepted) < quorum:
        text = f"served with {len(accepted)} accepting votes, {quorum} are needed"
        findings.error(Check.RELEASE, "release.votes", text, index, release.index)
    if release.published is None:
        text = "served before its privacy statement was published"
        findings.error(Check.RELEASE, "release.statement", text, index, release.index)
    votes = {name: vote for name, (_, vote) in release.votes.items()}
    against = unstable(timeline.force[index], votes)
    check_served(findings, release.gates, index, unstable_votes=against)


def _check_release(timeline: Timeline, release: _Release, findings: Findings) -> ReleaseFacts:
    shown: Fields | None = None
    with findings.catch(Check.RELEASE, "model.document", release.index, place=_place(release)):
        shown = _check_document(timeline, release, findings)
    made: Fields | None = None
    with findings.catch(Check.EPSILON, "statement.accountants", release.index):
        made = _statement_of(timeline, release)
    if shown is not None and made is not None:
        _compare(release, shown, made, findings)
    _check_calibration(release, findings)
    inputs = None if release.run is None else release.run.gate
    check_gates(timeline, release.gates, inputs, findings)
    newest = release.gates.newest()
    votes = sorted(release.votes.items())
    return ReleaseFacts(
        version=release.body.version,
        run=release.body.run,
        candidate=release.index,
        accepted=tuple(name for name, (_, vote) in votes if vote.accept),
        refused=tuple(name for name, (_, vote) in votes if not vote.accept),
        served=release.served,
        gate=None if newest is None else newest[1],
        statement=made,
    )


def _check_document(timeline: Timeline, release: _Release, findings: Findings) -> Fields | None:
    """The statement of the model document, if its parts belong to the logged run (12)."""
    run, version = release.run, release.body.version
    if run is None or run.closed is None or run.closed[1].version != version:
        text = f"not the version that run {release.body.run} was closed with"
        findings.error(Check.RELEASE, "release.run", text, release.index)
        return None
    data = timeline.evidence.models.get(version)
    if data is None:
        text = f"the model document {version} is not in the bundle"
        findings.error(Check.REPLAY, "model.missing", text, release.index)
        return None
    document = _object(parse_canonical(data), "model document")
    if (document.get("plan"), document.get("manifest")) != (
        plain_of(run.plan),
        run.plan.manifest,
    ):
        text = "the model document is of another plan or manifest"
        findings.error(Check.REPLAY, "model.plan", text, release.index, run.proposed)
    if run.model is None:
        text = "the sums do not lead to a model: it is not proven"
        findings.error(Check.REPLAY, "model.unproven", text, release.index)
    elif canonical_json(document.get(_part(run), {})) != run.model:
        text = "the model is not the one that the logged sums lead to"
        findings.error(Check.REPLAY, "model.wrong", text, release.index, place=_place(release))
    _check_figures(release, document, run, findings)
    return _object(document.get("statement"), "statement")


def _check_figures(
    release: _Release, document: Fields, run: RunFacts, findings: Findings
) -> None:
    """Figures, bins and centres are those that the sums lead to (12)."""
    for part, made in (run.published or {}).items():
        for path, seen, expected in _differences(document.get(part), made, part):
            if not _alike(seen, expected):
                text = f"{path}: the document says {seen}, the sums lead to {expected}"
                findings.error(
                    Check.REPLAY, "model.figures", text, release.index, place=_place(release)
                )


def _alike(seen: str, made: str) -> bool:
    """Whether two figures differ by rounding alone: other machines add floats otherwise."""
    try:
        return abs(Decimal(seen.strip("'")) - Decimal(made.strip("'"))) <= _ROUNDING
    except InvalidOperation:
        return False


def _part(run: RunFacts) -> str:
    """Where a document has what its run learned: a base model, or the head of one."""
    return "head" if run.plan.model is ModelKind.HEAD else "model"


def _place(release: _Release) -> str:
    return f"models/{release.body.version}.json"


def _statement_of(timeline: Timeline, release: _Release) -> Fields | None:
    """The statement that plan and logged attempts lead to; three accountants inside (14)."""
    run = release.run
    if run is None:
        return None
    schema = timeline.evidence.schemas.get(run.plan.schema)
    widths = {
        one.request.dimension
        for one in run.closings
        if one.request.kind is ReleaseKind.GRADIENT
    }
    if schema is None or len(widths) != 1:
        raise DecodeError("no schema, or no gradient: the statement cannot be computed")
    made = statement(
        run.plan,
        tuple(one.attempt for one in run.closings),
        width=widths.pop(),
        grid=len(private_features(schema)),
    )
    # The second way: from the statement's own charges alone, as a reader without a log does.
    charges = made["charges"]
    figures = epsilons_of(run.plan, charges if isinstance(charges, list) else [])
    headline = _object(made["headline"], "headline")
    for name in ("person", "record"):
        if headline[name] != worst_of(figures, name):
            raise DecodeError(f"two computations of the {name} epsilon differ")
    return made


def _compare(release: _Release, shown: Fields, made: Fields, findings: Findings) -> None:
    place = _place(release)
    if shown.get("accountants") == {} and made.get("accountants"):
        findings.error(
            Check.EPSILON, "statement.accountants", "not cross-checked", release.index
        )
    for path, seen, expected in _differences(shown, made, ""):
        text = f"{path}: the statement says {seen}, the log leads to {expected}"
        findings.error(Check.EPSILON, "statement.altered", text, release.index, place=place)
    digest = statement_digest(shown)
    if release.body.statement != digest:
        text = "the candidate names another statement than its document holds"
        findings.error(Check.EPSILON, "statement.digest", text, release.index, place=place)
    if release.published is None:
        text = "its privacy statement is not published"
        findings.warn(Check.EPSILON, "statement.unpublished", text, release.index)
        return
    index, published = release.published
    headline = _object(made["headline"], "headline")
    claims = (headline["person"], headline["record"], statement_digest(made))
    if (published.person, published.record, published.statement) != claims:
        text = (
            f"published epsilon {published.person} a person and {published.record} a record, "
            f"the log leads to {claims[0]} and {claims[1]}"
        )
        findings.error(Check.EPSILON, "statement.published", text, index, release.index)


def statement_digest(shown: Fields) -> Digest:
    """What log entries call a privacy statement by."""
    return hash_with(Label.STATEMENT, canonical_json(dict(shown)))


def _differences(seen: object, made: object, path: str) -> Iterator[tuple[str, str, str]]:
    """Every leaf at which two documents differ, with both texts."""
    if isinstance(seen, dict) and isinstance(made, dict):
        for name in sorted({*seen, *made}):
            yield from _differences(
                seen.get(name, "nothing"), made.get(name, "nothing"), f"{path}.{name}"
            )
    elif isinstance(seen, list) and isinstance(made, list) and len(seen) == len(made):
        for number, (one, other) in enumerate(zip(seen, made, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif seen != made or type(seen) is not type(made):
        yield path.lstrip("."), f"{seen!r:.80}", f"{made!r:.80}"


def _check_calibration(release: _Release, findings: Findings) -> None:
    """The recalibration is of this run and after its last gradient (16)."""
    run = release.run
    if run is None:
        return
    sums = [one.request.kind for one in run.closings if isinstance(one.body, RoundSum)]
    # A head is a recalibration itself, of joint sums (protocol 7.11).
    if run.plan.model is not ModelKind.HEAD and _uncalibrated(sums):
        text = "released without a recalibration after its last gradient"
        findings.error(Check.CALIBRATION, "calibration.missing", text, release.index)
    if ReleaseKind.EVALUATION not in sums:
        text = "no evaluation on persons held out"
        findings.note(Check.CALIBRATION, "evaluation.missing", text, release.index)


def _uncalibrated(sums: list[ReleaseKind]) -> bool:
    return ReleaseKind.RECALIBRATION not in sums or (
        ReleaseKind.GRADIENT in sums[sums.index(ReleaseKind.RECALIBRATION) :]
    )


def _closed_versions(runs: tuple[RunFacts, ...]) -> Iterator[tuple[int, Digest]]:
    for run in runs:
        if run.plan.figure is not None:
            continue  # closed with a table, see ``tables``
        if run.closed is not None and run.closed[1].version is not None:
            yield run.closed[0], run.closed[1].version


def _check_audits(
    timeline: Timeline,
    runs: tuple[RunFacts, ...],
    releases: Mapping[Digest, _Release],
    findings: Findings,
) -> None:
    """Challenges were answered, and nothing is served against a failed audit (18)."""
    asked: dict[RunId, int] = {}
    done: dict[RunId, tuple[int, AuditResult]] = {}
    for index, entry in sorted(timeline.entries.items()):
        match entry.body:
            case AuditChallenge() as challenge:
                asked[challenge.run] = index
            case AuditResult() as result:
                _check_result((index, result), findings)
                done[result.run] = _standing(done.get(result.run), (index, result))
            case Incident() as incident:
                text = f"{entry.actor} reports an incident: {incident.kind}"
                findings.warn(Check.AUDITS, "incident", text, index)
            case _:
                pass
    _check_challenges(runs, asked, done, findings)
    for release in releases.values():
        index, verdict = done.get(release.body.run, (0, None))
        if release.served is None or verdict is None or verdict.verdict != "failed":
            continue
        text = "served although its audit failed"
        findings.error(Check.AUDITS, "audit.contradicted", text, release.served, index)
    if runs and not done:
        text = "no replay of noise on a partner's premises is on record (protocol 9)"
        findings.note(Check.AUDITS, "audit.none", text)


def _check_result(said: tuple[int, AuditResult], findings: Findings) -> None:
    """A verdict that there is."""
    index, result = said
    if result.verdict not in RESULTS:
        text = f"the verdict {result.verdict!r:.40} is none of {', '.join(sorted(RESULTS))}"
        findings.error(Check.AUDITS, "audit.verdict", text, index)


def _standing(
    before: tuple[int, AuditResult] | None, result: tuple[int, AuditResult]
) -> tuple[int, AuditResult]:
    """The result of a run that counts.

    A run is replayed partner by partner: one that failed is not made good by another that
    passed, only by the word that it is let be.
    """
    failed = before is not None and before[1].verdict == "failed"
    return before if before and failed and result[1].verdict == "passed" else result


def _check_challenges(
    runs: tuple[RunFacts, ...],
    asked: Mapping[RunId, int],
    done: Mapping[RunId, tuple[int, AuditResult]],
    findings: Findings,
) -> None:
    closed = {run.run: run.closed[0] for run in runs if run.closed is not None}
    for run, index in asked.items():
        if closed.get(run, index) >= index:
            text = "sums drawn before the run was closed"
            findings.error(Check.AUDITS, "audit.early", text, index)
        if run not in done or done[run][0] < index:
            findings.warn(Check.AUDITS, "audit.unanswered", "no result yet", index)


def _object(value: object, name: str) -> Fields:
    if not isinstance(value, dict):
        raise DecodeError(f"{name}: not an object")
    return value
