"""What this partner asks about its own customers: studies, impact, lines closed elsewhere.

Nobody sits and waits for any of them, so the whole is asked for a piece at a time, each under
the consent that the study needs, and one answer that is missing ends the study
(protocol 7.11, 7.17, 7.18).
"""

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DataError, TransportError
from consortium.ids import Digest, PersonToken
from consortium.inquiries import LARGEST_BATCH, Purpose
from consortium.scoring.consent import Method
from consortium.scoring.premium import ATTESTATION, Impact, study_variants
from partner_node.asked_persons import LocalError, Part, Person
from partner_node.closure_asking import askable, bits_of_parts
from partner_node.people import People
from partner_node.premium_study import affected, impact_from, joined_sums, own_part
from partner_node.score_table import ScoreTable
from partner_node.scoring_era import Era
from partner_node.study import JointRows

_STUDY_S = 20.0
"""Seconds that so many may take; nobody sits and waits for it."""
_STUDY_PERSONS = 4 * LARGEST_BATCH
"""Persons of a study that are asked for at a time: as one request ends the next is there."""
_STUDY_EXPIRES_S = 3_600


async def study(era: Era | None, base: Digest) -> JointRows:
    """Joint sums of the own customers with a label and a consent to studies.

    Raises:
        TransportError: the study cannot be made now: no roster, no table, no answer.
        ScoreRefusalError: the quota of this release is used up (S07).
        DataError: nobody of this partner's customers may be asked about.
    """
    table = era.shelf.tables.get(base) if era is not None else None
    if era is None or table is None or era.shelf.model != base:
        raise TransportError(f"version {base[:12]} is not served here")
    policy = era.manifest.policy.scoring
    rows = table.study(
        policy.studies_per_release,
        declared=dict(policy.customers).get(era.ports.member, 0),
        withdrawn=era.ports.store.withdrawn_from(Purpose.CALIBRATION),
    )
    if not len(rows):
        raise DataError(
            "no customer has a label, a pseudonym (riskweave node tokenize) and a consent "
            "to studies ([scoring] study_consent in node.toml)"
        )
    expires = era.ports.now_ms() // 1000 + _STUDY_EXPIRES_S
    found: list[Part] = []
    for start in range(0, len(rows), _STUDY_PERSONS):
        part = rows[start : start + _STUDY_PERSONS]
        persons = list(_study_persons(era.people, table, part, expires))
        for one in await era.asker.parts(persons, Purpose.CALIBRATION, timeout_s=_STUDY_S):
            if isinstance(one, LocalError):
                raise TransportError(f"study: {one}")
            if one.model != base:
                raise TransportError(f"study: {base[:12]} is in force no more")
            found.append(one)
    return _rows_of(base, table, rows, found)


async def impact(era: Era | None, head: Digest) -> Impact:
    """What the loss of the own part costs the own customers who consented (7.18).

    Raises:
        TransportError: that head is not in force here, no table of lines is served, or
            nobody can be asked now.
        ScoreRefusalError, DataError: as ``study``, of the consent to IMPACT_STUDY.
    """
    shelf = era.shelf if era is not None else None
    if era is None or shelf is None or shelf.head != head or head not in shelf.heads:
        raise TransportError(f"head {head[:12]} is not in force here")
    table = None if shelf.model is None else shelf.tables.get(shelf.model)
    lines = era.closures.table
    if table is None or lines is None:
        raise TransportError("the model in force, or a table of lines, is not served here")
    asked = affected(
        lines,
        table,
        era.ports.store,
        manifest=era.manifest,
        member=era.ports.member,
    )
    expires = era.ports.now_ms() // 1000 + _STUDY_EXPIRES_S
    found: list[Part] = []
    for start in range(0, len(asked.references), _STUDY_PERSONS):
        part = slice(start, start + _STUDY_PERSONS)
        persons = list(asked.persons(era.people, table, part, expires))
        for one in await era.asker.parts(persons, Purpose.IMPACT_STUDY, timeout_s=_STUDY_S):
            if isinstance(one, LocalError):
                raise TransportError(f"impact study: {one}")
            if one.model != table.version:
                raise TransportError(f"{table.version[:12]} is in force no more")
            found.append(one)
    return impact_from(shelf.heads[head].head, joined_sums(found), table, asked.tokens)


async def ask_elsewhere(era: Era | None) -> int:
    """Ask whether lines of the own customers were closed elsewhere; keep bits and arms.

    Of everybody who consented to CLOSURE_SIGNAL; who consented to IMPACT_STUDY as well
    gets an arm. Returns how many persons were answered for.

    Raises:
        TransportError: nobody can be asked now, or no table of lines was read yet.
        ScoreRefusalError, DataError: as ``study``.
    """
    table = era.closures.table if era is not None else None
    if era is None or table is None:
        raise TransportError("no table of lines is served here")
    persons = askable(table, era.ports.store, era.manifest, era.ports.member)
    today = era.ports.lines.today()
    expires = era.ports.now_ms() // 1000 + _STUDY_EXPIRES_S
    for start in range(0, len(persons), _STUDY_PERSONS):
        part = persons[start : start + _STUDY_PERSONS]
        asked = [one.asked(era.people, expires) for one in part]
        found: list[Part] = []
        for one in await era.asker.parts(asked, Purpose.CLOSURE_SIGNAL, timeout_s=_STUDY_S):
            if isinstance(one, LocalError):
                raise TransportError(f"closure inquiry: {one}")
            found.append(one)
        kept = bits_of_parts(part, found, today)
        await asyncio.to_thread(era.ports.lines.keep, kept)
    return len(persons)


def _rows_of(
    base: Digest, table: ScoreTable, rows: NDArray[np.int64], found: Sequence[Part]
) -> JointRows:
    """The answers of a study as rows that a head is trained on."""
    customers, sums = table.customers, joined_sums(found)
    columns, own = sums.columns, own_part(table, table.tokens_of(rows))
    if ATTESTATION in columns:
        # Low bytes of the keyed hashes: the high ones have chosen who is asked about.
        draws = customers.subjects[rows, -2:].astype(np.int64) @ np.array([256, 1])
        sums, own = study_variants(sums, own, table.attested(rows), draws)
    return JointRows(
        base=base,
        families=columns,
        logits=sums.logits,
        counts=sums.counts,
        own=own.logits,
        partners=sums.partners,
        labels=customers.labels[rows],
        holdout=customers.holdout[rows],
    )


def _study_persons(
    people: People, table: ScoreTable, rows: NDArray[np.int64], expires: int
) -> Iterable[Person]:
    tokens, references = table.tokens_of(rows), table.customers.references
    if references is None:
        return
    holding = table.lookup(tokens)
    for place in range(len(rows)):
        yield Person(
            model=table.version,
            token=PersonToken(tokens[place].tobytes()),
            evidence=people.evidence(references[rows[place]].tobytes().hex()),
            purposes=frozenset({Purpose.CALIBRATION}),
            expires=expires,
            notice=1,
            method=Method.RECORDED,
            holding=holding.of(place),
        )
