"""The questions of NIST SP 800-226 with answers that rest on the bundle (protocol 8.7).

The publication (Guidelines for Evaluating Differential Privacy Guarantees, 2025) builds a
pyramid: parameters and unit on top, mechanisms, accounting and utility below, deployment at
the base. Each answer is one of four words, and names its evidence: entries, files of the
bundle, and checks of protocol 8.7. An answer without evidence is "not proven".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from consortium.ledger.entries import (
    AuditResult,
    Body,
    ManifestAdopted,
    ReleaseCandidate,
    ReleaseServed,
    ReleaseVote,
    ScoreBatch,
    StatementPublished,
)
from consortium.ledger.findings import Check, Grade
from consortium.ledger.run_bodies import (
    BudgetDebit,
    PlanProposed,
    RoundSum,
    RoundUpload,
    RunCommit,
)
from consortium.ledger.verify import Audit
from consortium.plan import ReleaseKind
from regulator.checklist_words import QUESTIONS

MOST_ENTRIES = 20
"""Indices that one answer names, the first ones."""


class Answer(StrEnum):
    """How far the bundle bears out an answer."""

    PROVEN = "proven"
    """Computed again from the bundle."""
    STATED = "stated"
    """Signed by those who say it, and not proven by the bundle."""
    NOT_PROVEN = "not proven"
    CONTRADICTED = "contradicted"
    """A check that it rests on found an error."""


class _Basis(StrEnum):
    RECOMPUTED = "recomputed"
    SIGNED = "signed"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where to look."""

    entries: tuple[int, ...]
    files: tuple[str, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its answer; texts are in ``QUESTIONS`` under its id."""

    id: str
    answer: Answer
    evidence: Evidence

    def text(self, language: str) -> str:
        """What the answer says."""
        words = QUESTIONS[self.id]
        held = self.answer in {Answer.PROVEN, Answer.STATED}
        if self.answer is Answer.CONTRADICTED:
            return _CONTRADICTED[language]
        return (words.held if held else words.missing).of(language)


_CONTRADICTED = {
    "en": "a check that this rests on found an error; see the findings",
    "zh": "所依据的检查发现错误, 见审计发现",
}

_Gather = Callable[[Audit], tuple[list[int], list[str]]]


def checklist_of(audit: Audit) -> tuple[Item, ...]:
    """Every question, answered from one audit."""
    return tuple(_answered(audit, name) for name in QUESTIONS)


def document_of_checklist(audit: Audit) -> dict[str, object]:
    """The checklist as plain objects; ``docs/schemas/sp800-226.schema.json`` is its form."""
    return {
        "type": "riskweave/sp800-226/v1",
        "publication": "NIST SP 800-226 (2025)",
        "pinned_manifest": audit.pinned,
        "federation": audit.federation,
        "entries": audit.entries,
        "items": [_plain(item) for item in checklist_of(audit)],
    }


def _plain(item: Item) -> dict[str, object]:
    words = QUESTIONS[item.id]
    return {
        "id": item.id,
        "heading": {"en": words.heading.en, "zh": words.heading.zh},
        "question": {"en": words.question.en, "zh": words.question.zh},
        "answer": item.answer.value,
        "text": {"en": item.text("en"), "zh": item.text("zh")},
        "evidence": {
            "entries": list(item.evidence.entries),
            "files": list(item.evidence.files),
            "checks": [check.value for check in item.evidence.checks],
        },
    }


def _answered(audit: Audit, name: str) -> Item:
    basis, checks, gather = _RULES[name]
    entries, files = gather(audit)
    found = [one for one in audit.findings if one.grade is Grade.ERROR and one.check in checks]
    if found:
        entries = sorted({index for one in found for index in one.entries})
        answer = Answer.CONTRADICTED
    elif basis is _Basis.OUTSIDE or not (entries or files):
        answer = Answer.NOT_PROVEN
    else:
        answer = Answer.PROVEN if basis is _Basis.RECOMPUTED else Answer.STATED
    known = audit.entries
    entries = [index for index in entries if index < known]
    evidence = Evidence(tuple(entries[:MOST_ENTRIES]), tuple(files), checks)
    return Item(name, answer, evidence)


def _of(*kinds: type[Body]) -> _Gather:
    return lambda audit: (_indices(audit, *kinds), [])


def _indices(audit: Audit, *kinds: type[Body]) -> list[int]:
    entries = audit.timeline.entries if audit.timeline else {}
    return sorted(index for index, one in entries.items() if isinstance(one.body, kinds))


def _documents(*kinds: type[Body]) -> _Gather:
    """Entries of these kinds and the documents of all releases."""
    return lambda audit: (_indices(audit, *kinds), _models(audit))


def _models(audit: Audit) -> list[str]:
    known = audit.timeline.evidence.models if audit.timeline else {}
    return [f"models/{one.version}.json" for one in audit.releases if one.version in known]


def _manifests(audit: Audit) -> tuple[list[int], list[str]]:
    chain = audit.timeline.manifests if audit.timeline else {}
    files = [f"manifests/{digest}.json" for digest in chain]
    return _indices(audit, ManifestAdopted), files


def _passed(audit: Audit) -> tuple[list[int], list[str]]:
    """Results that say "passed", and of them only those of runs with a release."""
    entries = audit.timeline.entries if audit.timeline else {}
    runs = {one.run for one in audit.releases}
    passed = {
        one.body.run: index
        for index, one in sorted(entries.items())
        if isinstance(one.body, AuditResult) and one.body.verdict == "passed"
    }
    for one in entries.values():
        if isinstance(one.body, AuditResult) and one.body.verdict == "failed":
            passed.pop(one.body.run, None)
    return (sorted(passed.values()), []) if runs and runs <= set(passed) else ([], [])


def _unscored(audit: Audit) -> tuple[list[int], list[str]]:
    """The whole log where it has no inquiry, else nothing: then the answer is not proven."""
    if audit.timeline is None or _indices(audit, ScoreBatch):
        return [], []
    return _manifests(audit)


def _evaluated(audit: Audit) -> tuple[list[int], list[str]]:
    found = [
        closing.index
        for run in audit.runs
        for closing in run.closings
        if isinstance(closing.body, RoundSum) and closing.request.kind is ReleaseKind.EVALUATION
    ]
    return (found, _models(audit)) if found else ([], [])


def _calibrated(audit: Audit) -> tuple[list[int], list[str]]:
    found = [
        closing.index
        for run in audit.runs
        for closing in run.closings
        if closing.request.kind in {ReleaseKind.RECALIBRATION, ReleaseKind.OVERLAP}
        and isinstance(closing.body, RoundSum)
    ]
    return (found, []) if audit.releases else ([], [])


def _heads(audit: Audit) -> tuple[list[int], list[str]]:
    if not audit.cosigned_by:
        return [], []
    sizes = [head.checkpoint.size for head in audit.heads][:-1]
    return [], ["checkpoint", *(f"checkpoints/{size}" for size in sizes[:MOST_ENTRIES])]


def _served(audit: Audit) -> tuple[list[int], list[str]]:
    if not _indices(audit, ReleaseServed):
        return [], []
    return _indices(audit, ReleaseServed, StatementPublished, ReleaseVote), []


def _first(audit: Audit) -> tuple[list[int], list[str]]:
    entries = audit.timeline.entries if audit.timeline else {}
    return (sorted(entries)[:1] + sorted(entries)[-1:], []) if entries else ([], [])


def _nothing(audit: Audit) -> tuple[list[int], list[str]]:
    return [], _models(audit)


_PROOF, _WORD = _Basis.RECOMPUTED, _Basis.SIGNED
_FIGURES = (Check.EPSILON,)

_RULES: Mapping[str, tuple[_Basis, tuple[Check, ...], _Gather]] = {
    "epsilon": (_PROOF, _FIGURES, _documents(ReleaseCandidate, StatementPublished)),
    "variant": (_PROOF, _FIGURES, _documents(ReleaseCandidate)),
    "unit": (_PROOF, _FIGURES, _documents(ReleaseCandidate)),
    "relation": (_PROOF, _FIGURES, _documents(ReleaseCandidate)),
    "contributions": (_WORD, (Check.MANIFESTS,), _manifests),
    "mechanism": (_PROOF, (Check.CONTEXTS, Check.SUMS, Check.REPLAY), _of(RoundSum)),
    "noise": (_WORD, (Check.AUDITS,), _passed),
    "sensitivity": (_WORD, (Check.CONTEXTS,), _of(PlanProposed)),
    "learning": (_PROOF, (Check.REPLAY,), _documents(ReleaseCandidate)),
    "composition": (_PROOF, (Check.BUDGET,), _of(BudgetDebit)),
    "lifetime": (_PROOF, (Check.BUDGET,), _of(BudgetDebit)),
    "mixing": (_WORD, (Check.SCORES,), _unscored),
    "utility": (_PROOF, (Check.REPLAY,), _evaluated),
    "statistical_bias": (_PROOF, (Check.CALIBRATION,), _calibrated),
    "systemic_bias": (_Basis.OUTSIDE, (), _nothing),
    "queries": (_PROOF, (Check.ORDER, Check.REPLAY), _of(PlanProposed, RunCommit)),
    "threats": (_PROOF, _FIGURES, _documents(ReleaseCandidate)),
    "trust": (_WORD, _FIGURES, _documents(ReleaseCandidate, RunCommit)),
    "history": (_PROOF, (Check.LOG_SIGNATURE, Check.COSIGNATURES, Check.ROOT), _heads),
    "floating_point": (_WORD, (Check.SUMS,), _documents(ReleaseCandidate)),
    "timing": (_Basis.OUTSIDE, (), _nothing),
    "randomness": (_WORD, (Check.CONTEXTS, Check.AUDITS), _passed),
    "software": (_WORD, (Check.CONTEXTS,), _of(PlanProposed)),
    "access": (_PROOF, (Check.ENTRIES, Check.REVOKED), _first),
    "release_control": (_PROOF, (Check.RELEASE,), _served),
    "at_rest": (_Basis.OUTSIDE, (), lambda _: ([], [])),
    "exposure": (_WORD, (Check.SUMS, Check.CONTEXTS), _of(RoundUpload)),
}
