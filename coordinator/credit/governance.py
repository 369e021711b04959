"""Who has joined how far, who has left, and what is owed: from the registry and the log."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from consortium.credit.governance import (
    Charter,
    ExitNote,
    Members,
    Milestone,
    Onboarding,
    Trained,
    exits,
    lacking,
    onboarding,
)
from consortium.documents import parse_document
from consortium.errors import ManifestError
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import ManifestAdopted, ReleaseVote, from_jcs
from consortium.ledger.governing import CharterAgreed, ContributionStated
from consortium.ledger.mirror import type_of
from consortium.ledger.run_bodies import RunCommit
from consortium.manifest import Manifest, parse_manifest
from consortium.plan import TrainingPlan
from coordinator.credit.governing import Governing
from coordinator.credit.readings import day_of
from coordinator.storage import Store

_PORTION = 4_096
_MILESTONES = {
    ManifestAdopted: Milestone.MANIFEST_SIGNED,
    CharterAgreed: Milestone.CHARTER_AGREED,
    RunCommit: Milestone.FIRST_RUN,
    ReleaseVote: Milestone.FIRST_VOTE,
}
_TYPES = frozenset({"manifest.adopted", "charter.agreed", "run.commit", "release.vote"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """How a consortium stands."""

    charter: Charter | None
    """The newest."""
    lacking: tuple[str, ...]
    """Partners that have not agreed to it."""
    onboarding: tuple[Onboarding, ...]
    exits: tuple[ExitNote, ...]
    statements: tuple[ContributionStated, ...]


def governance_of(store: Store, governing: Governing, manifest: Manifest) -> Governance:
    """Everything, from facts that are signed or stored already."""
    state = governing.state()
    charter = state.charters[-1] if state.charters else None
    partners = [member.id for member in manifest.partners]
    days = {} if charter is None else {"days": charter.retrain_days}
    return Governance(
        charter=charter,
        lacking=() if charter is None else lacking(charter, state.agreed, partners),
        onboarding=tuple(_onboarded(store, manifest)),
        exits=exits(_members(store), _trained(store), **days),
        statements=tuple(state.statements),
    )


def _onboarded(store: Store, manifest: Manifest) -> Iterator[Onboarding]:
    partners = {member.id for member in manifest.partners}
    facts: dict[PartnerId, dict[Milestone, date]] = {name: {} for name in partners}
    for token in store.members.tokens():
        if token.partner in facts and token.used_at is not None:
            facts[token.partner].setdefault(Milestone.ENROLLED, day_of(token.used_at))
    first = 0
    while entries := store.log.portion(first, first + _PORTION):
        first += len(entries)
        for data in entries:
            if type_of(data) in _TYPES:
                entry = from_jcs(data)
                milestone = _MILESTONES.get(type(entry.body))
                if milestone is not None and entry.actor in facts:
                    facts[entry.actor].setdefault(milestone, day_of(entry.at))
    for name in sorted(facts):
        yield onboarding(name, facts[name])


def _members(store: Store) -> list[Members]:
    """Partners of each manifest in turn; of one that all its signers have signed."""
    found: list[Members] = []
    for digest in reversed(store.manifests.digests()):
        bundle = store.manifests.get(digest)
        if bundle is None:
            raise ManifestError(f"manifest {digest} is not in the database")
        manifest = parse_manifest(bundle.body)
        if {one.id for one in manifest.signers()} <= {one.member for one in bundle.signatures}:
            names = tuple(member.id for member in manifest.partners)
            found.append(Members(since=day_of(manifest.not_before), partners=names))
    return found


def _trained(store: Store) -> list[Trained]:
    """Every version with the holders of its plan; of a head those of its base, too."""
    plans: dict[Digest, TrainingPlan] = {}
    for model in store.models.all():
        run = store.runs.get(model.run)
        if run is not None:
            plans[model.version] = parse_document(TrainingPlan, run.plan)
    found = []
    for model in store.models.all():
        names = _holders(plans, model.version) | _holders(
            plans, store.models.base_of(model.version)
        )
        found.append(
            Trained(
                version=model.version,
                on=day_of(model.created_at),
                partners=tuple(sorted(names)),
                active=model.status == "active",
            )
        )
    return found


def _holders(plans: dict[Digest, TrainingPlan], version: Digest | None) -> frozenset[PartnerId]:
    plan = None if version is None else plans.get(version)
    if plan is None:
        return frozenset()
    return frozenset(name for block in plan.blocks for name in block.holders)
