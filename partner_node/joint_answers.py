"""From the sums of all partners to one applicant's answer, or this partner's own (7.10).

No stream and no database: what came back is put through the head in force, for all persons of
a request at once. Where nothing came back, or for another version than the one in force, the
answer is local with band "0" and why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consortium.ids import Digest
from consortium.scoring.combine import band_of, joint_eta
from consortium.scoring.head import STRATA, Head, plain_head
from consortium.scoring.layout import TOTAL, JointSums
from consortium.scoring.premium import ATTESTATION
from partner_node import answers
from partner_node.answers import FamilyPart, JointAnswer
from partner_node.asked_persons import LocalError, Part
from partner_node.carried import View, with_carried
from partner_node.desk_tables import Basis
from partner_node.score_table import ScoreTable
from partner_node.scoring_applicants import Asked
from partner_node.scoring_era import Era


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joint:
    """What one request's sums come to, as plain numbers by person. Private."""

    carried: frozenset[int]
    """Places of persons whose shown histories are in it."""
    model: Digest
    head: Digest | None
    pooled: tuple[int, ...] | None
    """Of the head in force; None: there is none."""
    eta: list[int] = field(repr=False)
    strata: list[int] = field(repr=False)
    logits: list[list[int]] = field(repr=False)
    counts: list[list[int]] = field(repr=False)
    partners: list[int] = field(repr=False)


def answers_of(
    era: Era, asked: Sequence[Asked], parts: Sequence[Part | LocalError]
) -> list[JointAnswer]:
    """One answer for each applicant, in order."""
    joint = _joint_all(era, asked, parts)
    return [
        _joint(era, one, part, joint)
        if isinstance(part, Part)
        else local_answer(era, one, part)
        for one, part in zip(asked, parts, strict=True)
    ]


def _joint_all(
    era: Era, asked: Sequence[Asked], parts: Sequence[Part | LocalError]
) -> Mapping[int, _Joint]:
    """What each request's sums come to, for all of its persons at once."""
    found: dict[int, _Joint] = {}
    answered = [
        (one, part) for one, part in zip(asked, parts, strict=True) if isinstance(part, Part)
    ]
    for _, part in answered:
        model = part.model
        table = era.shelf.tables.get(model)
        # Another version came into force meanwhile: its head would not fit these sums.
        if id(part.sums) not in found and table is not None and model == era.shelf.model:
            views = [
                View(other.place, one.carried, frozenset(one.own))
                for one, other in answered
                if other.sums is part.sums
            ]
            sums, carried = with_carried(table, (part.sums, part.partners), views)
            head, pooled = _head(era, table, sums)
            eta, strata = joint_eta(head, sums)
            found[id(part.sums)] = _Joint(
                model=model,
                carried=carried,
                head=None if pooled is None else era.shelf.head,
                pooled=pooled,
                eta=eta.tolist(),
                strata=strata.tolist(),
                logits=sums.logits.tolist(),
                counts=sums.counts.tolist(),
                partners=sums.partners.tolist(),
            )
    return found


def _joint(era: Era, one: Asked, part: Part, all_of: Mapping[int, _Joint]) -> JointAnswer:
    found, place = all_of.get(id(part.sums)), part.place
    if found is None or one.holding is None:
        return local_answer(era, one, LocalError(answers.NO_MODEL))
    stratum = found.strata[place]
    if found.pooled and stratum in found.pooled:
        how = "pooled"
    else:
        how = "none" if found.pooled is None else "stratum"
    own, codes = one.own, one.codes
    if one.carried is not None and place in found.carried:
        own, codes = {**own, ATTESTATION: one.carried.logit}, one.carried.codes
    return JointAnswer(
        band=band_of(found.partners[place]),
        eta=found.eta[place],
        stratum=stratum,
        calibration=how,
        families=_families(own, part.sums.columns, found, place),
        codes=codes,
        model=found.model,
        head=found.head,
        policy=era.digest,
        context=part.context,
    )


def _head(era: Era, table: ScoreTable, sums: JointSums) -> tuple[Head, tuple[int, ...] | None]:
    """The head in force and its pooled strata, from 1; the plain one with None."""
    version = era.shelf.head
    found = era.shelf.heads.get(version) if version is not None else None
    if found is not None and found.head.families == sums.columns:
        return found.head, found.pooled
    return plain_head(sums.columns, table.serving.base), None


def local_answer(era: Era, one: Asked, why: LocalError) -> JointAnswer:
    """This partner's own answer: band 0, and why (protocol 7.10)."""
    table, carried = one.table, one.carried
    own, eta, codes = one.own, one.eta, one.codes
    if carried is not None:
        own = {**own, ATTESTATION: carried.logit}
        eta, codes = carried.eta, carried.codes
    families: tuple[FamilyPart, ...] = ()
    if table is not None and one.holding is not None:
        families = _own_families(table, own)
    return JointAnswer(
        band=answers.BANDS[0],
        eta=eta,
        stratum=min(STRATA, len([part for part in families if part.holders])),
        calibration="local",
        families=families,
        codes=codes,
        model=table.version if table else None,
        head=None,
        policy=era.digest,
        context=None,
        fallback=why.reason,
    )


def basis_of(era: Era | None, answer: JointAnswer) -> Basis | None:
    """What an answer was made with, for the desk's reasons; None if it is not served."""
    table = era.shelf.tables.get(answer.model) if era and answer.model else None
    if era is None or table is None:
        return None
    found = era.shelf.heads.get(answer.head) if answer.head is not None else None
    return Basis(
        document=table.document,
        head=found.head if found is not None else None,
        policy=era.manifest.policy.scoring,
    )


def _families(
    own: Mapping[str, int], columns: tuple[str, ...], found: _Joint, place: int
) -> tuple[FamilyPart, ...]:
    """Own part, sum and holders of each column of the sums."""
    if columns == (TOTAL,):
        own = {TOTAL: sum(own.values())}
    logits, counts = found.logits[place], found.counts[place]
    return tuple(
        FamilyPart(name=name, own=own.get(name, 0), total=total, holders=holders)
        for name, total, holders in zip(columns, logits, counts, strict=True)
    )


def _own_families(table: ScoreTable, own: Mapping[str, int]) -> tuple[FamilyPart, ...]:
    """What this partner alone knows, by family."""
    return tuple(
        FamilyPart(
            name=name, own=own.get(name, 0), total=own.get(name, 0), holders=int(name in own)
        )
        for name in table.layout.families
    )
