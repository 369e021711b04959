"""Asking the others about a desk's applicants: consent, token, parts, access log (7.8, 7.10).

Whoever sits at a loan desk never sees a fault of a network: an applicant of whom nothing can
be had jointly gets the partner's own score. Consents are looked at before anybody is asked,
and the inquiry is written down before anybody reads the answer.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from consortium.errors import ScoreRefusal, ScoreRefusalError, TransportError
from consortium.ids import Digest, PersonToken
from consortium.inquiries import Purpose
from consortium.scoring.consent import Method
from partner_node import answers
from partner_node.answers import Applicant, ConsentReference, JointAnswer, Shown
from partner_node.asked_persons import LocalError, Part, Person
from partner_node.joint_answers import answers_of, local_answer
from partner_node.people import People
from partner_node.score_table import Holding
from partner_node.scoring_applicants import Asked, asked_of
from partner_node.scoring_era import Era
from partner_node.scoring_store import Access

log = logging.getLogger(__name__)

Told = Callable[[Sequence[JointAnswer], float], None]

_SURE = 0.4
"""Share of a deadline that the pseudonym may take."""


async def ask(
    era: Era,
    applicants: Sequence[Applicant],
    *,
    purpose: Purpose,
    deadline_ms: int,
    inquirer: str,
    told: Told,
) -> list[JointAnswer]:
    """One answer for each applicant, in order, before the deadline; local if need be.

    Args:
        era: In force.
        applicants: Private.
        purpose: Of the inquiry.
        deadline_ms: Time that is left.
        inquirer: Who asks at the desk, for the access log.
        told: Told of answers and of the seconds they took; must not block.

    Raises:
        ScoreRefusalError: an applicant without a consent for this, now (S08).
        DataError: an identifier or an attribute that is not of its form.
    """
    table = era.shelf.current
    xs = [era.people.form(one.person) for one in applicants]
    subjects = [era.people.subject(x) for x in xs]
    _check_consents(era, applicants, subjects, purpose)
    asked = asked_of(table, applicants, xs, subjects)
    loop = asyncio.get_running_loop()
    began = loop.time()
    until = began + deadline_ms / 1000
    parts = await _parts(era, asked, purpose, until=until)
    made = answers_of(era, asked, parts)
    _log(era, asked, parts, made, purpose=purpose, inquirer=inquirer)
    told(made, loop.time() - began)
    return made


def alone(
    era: Era,
    person: str,
    attributes: Mapping[str, float | str | None] | None,
    *,
    shown: Shown | None,
    why: str,
) -> JointAnswer:
    """This partner's own answer; nobody is asked, so no consent to JOINT_SCORE is needed.

    Args:
        era: In force.
        person: Private, as the partner writes it.
        attributes: Own features; None: the customer's own row counts.
        shown: A verified history of the person. Private.
        why: One of ``answers.FALLBACKS``.

    Raises:
        DataError: as ``ask``.
    """
    x = era.people.form(person)
    nothing = ConsentReference(reference="", purposes=(), expires=0)
    applicant = Applicant(person=person, consent=nothing, attributes=attributes, shown=shown)
    (asked,) = asked_of(era.shelf.current, [applicant], [x], [era.people.subject(x)])
    return local_answer(era, asked, LocalError(why))


async def token(era: Era, person: str, *, timeout_s: float) -> tuple[int, PersonToken]:
    """Epoch and pseudonym of a person, asked of the key holders if it is not known here.

    They see a blinded point. No consent is looked at: the person has agreed to that for
    which the pseudonym is compared, or nobody may ask.

    Raises:
        TransportError: none can be had in time.
        ScoreRefusalError: the key holders refuse.
        DataError: as ``ask``.
    """
    era.heed(era.ports.revoked())
    x = era.people.form(person)
    (found,) = await era.pseudonyms.tokens_of([x], timeout_s=timeout_s)
    return era.manifest.policy.scoring.epoch, found


def _check_consents(
    era: Era, applicants: Sequence[Applicant], subjects: Sequence[bytes], purpose: Purpose
) -> None:
    """Raise ScoreRefusalError (S08) unless all consents allow this now (7.8)."""
    now = era.ports.now_ms() // 1000
    withdrawn = era.ports.store.withdrawn(subjects)
    for applicant, subject in zip(applicants, subjects, strict=True):
        given = applicant.consent
        if not given.reference.strip() or purpose not in given.purposes:
            raise ScoreRefusalError(
                ScoreRefusal.PURPOSE, f"no consent to {purpose.value} on record"
            )
        if given.expires <= now or given.method.upper() not in Method.__members__:
            raise ScoreRefusalError(ScoreRefusal.PURPOSE, "a consent that has expired")
        if (subject, purpose) in withdrawn:
            raise ScoreRefusalError(ScoreRefusal.PURPOSE, "a consent that was withdrawn")


async def _parts(
    era: Era, asked: Sequence[Asked], purpose: Purpose, *, until: float
) -> list[Part | LocalError]:
    """What the others' sums say of each, or why nothing can be had of them."""
    era.heed(era.ports.revoked())
    loop = asyncio.get_running_loop()
    try:
        roster = era.asker.roster()
        table = era.shelf.tables.get(roster.model) if roster.model else None
        if table is None or any(one.holding is None for one in asked):
            raise LocalError(answers.NO_MODEL)  # noqa: TRY301 - told below like the rest
        seconds = max(0.0, (until - loop.time()) * _SURE)
        tokens = await era.pseudonyms.tokens_of([one.x for one in asked], timeout_s=seconds)
    except LocalError as error:
        return [error] * len(asked)
    except TransportError as error:
        return [LocalError(answers.UNREACHABLE, str(error))] * len(asked)
    except ScoreRefusalError as error:
        quota = error.reason is ScoreRefusal.QUOTA
        reason = answers.QUOTA if quota else answers.UNREACHABLE
        log.warning("no tokens: %s", error)
        return [LocalError(reason, str(error))] * len(asked)
    persons = [
        _person(
            era.people,
            one.applicant.consent,
            token,
            holding=one.holding,
            model=one.table.version,
        )
        for one, token in zip(asked, tokens, strict=True)
        if one.holding is not None and one.table is not None
    ]
    return await era.asker.parts(persons, purpose, timeout_s=until - loop.time())


def _log(
    era: Era,
    asked: Sequence[Asked],
    parts: Sequence[Part | LocalError],
    made: Sequence[JointAnswer],
    *,
    purpose: Purpose,
    inquirer: str,
) -> None:
    """Write down the inquiries before anybody reads an answer (credit 6)."""
    era.ports.store.log_access(
        [
            Access(
                inquirer=inquirer,
                subject=era.people.logged(one.x),
                purpose=purpose,
                consent=part.receipt
                if isinstance(part, Part)
                else era.people.evidence(one.applicant.consent.reference),
                context=answer.context or "",
                roster=part.roster if isinstance(part, Part) else 0,
                model=answer.model or "",
                head=answer.head or "",
                band=answer.band,
                result=answer.fallback or "joint",
            )
            for one, part, answer in zip(asked, parts, made, strict=True)
        ]
    )


def _person(
    people: People,
    given: ConsentReference,
    token: PersonToken,
    *,
    holding: Holding,
    model: Digest,
) -> Person:
    return Person(
        model=model,
        token=token,
        evidence=people.evidence(given.reference),
        purposes=frozenset(given.purposes),
        expires=given.expires,
        notice=given.notice,
        method=Method[given.method.upper()],
        holding=holding,
    )
