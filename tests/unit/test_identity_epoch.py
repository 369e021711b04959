"""Key ceremonies: a new key, its resharing, and who is caught at what (6.3, 6.8)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from consortium.canonical import Label
from consortium.crypto.keys import Secret
from consortium.crypto.ristretto import (
    IDENTITY,
    Scalar,
    base_mult,
    scalar_add,
    scalar_mul,
    scalar_of,
)
from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, OutOfOrderError, ScoreRefusal, ScoreRefusalError
from consortium.identity.ceremony import Holding, accept_offer, install, key_of
from consortium.identity.complaints import Complaint, judge
from consortium.identity.dealing import (
    Box,
    Reveal,
    commitment_hash,
    deal,
    open_share,
    seal_share,
    share_key,
)
from consortium.identity.epoch import Complained, EpochMachine
from consortium.identity.epoch_states import EPOCH as TABLE
from consortium.identity.epoch_states import EpochEvent, EpochState
from consortium.identity.epoch_steps import (
    Confirm,
    EpochKey,
    EpochRecord,
    EpochSignature,
    EpochStep,
    Step,
    digest_of_steps,
    offer_digest,
    open_steps,
    record_of,
    share_bound,
    sign_key,
    sign_step,
    verify_record,
)
from consortium.identity.shares import commit, lagrange
from consortium.ids import Digest, PartnerId
from tests.identity_house import (
    EPOCH,
    Ceremony,
    KeyHolders,
    manifest_of,
    names_of,
    reason_of,
    restarted,
)
from tests.secagg_house import Party, secret_of

NAMES = names_of(4)
FIRST, SECOND, THIRD, FOURTH = NAMES
MANIFEST = manifest_of(NAMES)


def _secret_key(holdings: dict[PartnerId, Holding], names: tuple[PartnerId, ...]) -> Scalar:
    """What t members together could compute; nobody ever does."""
    indices = tuple(holdings[name].share.index for name in names)
    key = scalar_of(0)
    for name, index in zip(names, indices, strict=True):
        key = scalar_add(key, scalar_mul(lagrange(indices, index), holdings[name].share.scalar))
    return key


def _until_reveal(**how: Any) -> Ceremony:  # noqa: ANN401 - fields of Ceremony
    ceremony = Ceremony(MANIFEST, **how)
    ceremony.commit()
    return ceremony


def _revealed(**how: Any) -> Ceremony:  # noqa: ANN401 - fields of Ceremony
    ceremony = _until_reveal(**how)
    ceremony.reveal()
    return ceremony


def _resigned(ceremony: Ceremony, name: PartnerId, step: Step, body: bytes) -> bytes:
    return sign_step(
        offer_digest(ceremony.offer), name, step, body=body, key=Party(name).identity
    )


def _reveal_of(ceremony: Ceremony, name: PartnerId) -> Reveal:
    step = parse_document(EpochStep, ceremony.reveals[name])
    return parse_document(Reveal, step.body)


def _change_reveal(ceremony: Ceremony, name: PartnerId, **changes: Any) -> None:  # noqa: ANN401
    changed = replace(_reveal_of(ceremony, name), **changes)
    ceremony.reveals[name] = _resigned(ceremony, name, Step.REVEAL, document_of(changed))


def test_every_member_installs_the_same_keys_and_its_own_share() -> None:
    ceremony = Ceremony(MANIFEST)
    holdings = ceremony.run()
    keys = {holding.key.digest for holding in holdings.values()}
    assert len(keys) == 1
    key = holdings[FIRST].key
    assert (key.threshold, key.members) == (3, tuple(zip(NAMES, (1, 2, 3, 4), strict=True)))
    for name, holding in holdings.items():
        assert base_mult(holding.share.scalar) == key.holder(name).public
        assert "share=Secret(...)" in repr(holding)
    whole = _secret_key(holdings, NAMES[:3])
    assert base_mult(whole) == key.group_key
    assert _secret_key(holdings, (SECOND, THIRD, FOURTH)) == whole
    assert base_mult(_secret_key(holdings, NAMES[:2])) != key.group_key
    assert all(machine.state is EpochState.INSTALLED for machine in ceremony.machines.values())


def test_killed_member_comes_to_the_same_bytes_and_the_same_share() -> None:
    ceremony = Ceremony(MANIFEST)
    ceremony.run()
    again = EpochMachine(ceremony.facts(SECOND))
    assert again.on_offer(ceremony.offered()) == ceremony.commits[SECOND]
    commits = [ceremony.commits[name] for name in NAMES]
    assert again.on_commits(commits) == ceremony.reveals[SECOND]
    confirmed = again.on_reveals([ceremony.reveals[name] for name in NAMES])
    assert confirmed.document == ceremony.confirmed[SECOND].document
    assert restarted(ceremony, SECOND).key == again.on_record(ceremony.signed)


def test_another_offer_leads_to_an_unrelated_polynomial() -> None:
    first, second = Ceremony(MANIFEST, attempt=1), Ceremony(MANIFEST, attempt=2)
    facts = first.facts(FIRST)
    dealt = [
        deal(facts.secret, offer_digest(one.offer), epoch=1, member=FIRST, threshold=3)
        for one in (first, second)
    ]
    assert not set(dealt[0].coefficients) & set(dealt[1].coefficients)
    assert dealt[0].proof[:32] != dealt[1].proof[:32]
    assert "coefficients" not in repr(dealt[0])


@pytest.mark.parametrize("state", EpochState)
@pytest.mark.parametrize("event", EpochEvent)
def test_step_out_of_order_is_refused(state: EpochState, event: EpochEvent) -> None:
    ceremony = Ceremony(MANIFEST)
    ceremony.run()
    machine = EpochMachine(ceremony.facts(FIRST))
    steps: dict[EpochEvent, Callable[[], object]] = {
        EpochEvent.OFFER: lambda: machine.on_offer(ceremony.offered()),
        EpochEvent.COMMITS: lambda: machine.on_commits([ceremony.commits[n] for n in NAMES]),
        EpochEvent.REVEALS: lambda: machine.on_reveals([ceremony.reveals[n] for n in NAMES]),
        EpochEvent.RECORD: lambda: machine.on_record(ceremony.signed),
        EpochEvent.REFUSAL: machine.refuse,
    }
    way = {
        EpochState.IDLE: [],
        EpochState.COMMITTED: [EpochEvent.OFFER],
        EpochState.REVEALED: [EpochEvent.OFFER, EpochEvent.COMMITS],
        EpochState.CONFIRMED: [EpochEvent.OFFER, EpochEvent.COMMITS, EpochEvent.REVEALS],
        EpochState.INSTALLED: [*EpochEvent][:4],
        EpochState.ABORTED: [EpochEvent.REFUSAL],
    }
    for before in way[state]:
        steps[before]()
    assert machine.state is state
    if event in TABLE[state]:
        steps[event]()
        assert machine.state is TABLE[state][event]
    else:
        with pytest.raises(OutOfOrderError):
            steps[event]()
        assert machine.state is state


OFFERS: dict[str, tuple[dict[str, Any], ScoreRefusal]] = {
    "other_manifest": ({"manifest": Digest("00" * 32)}, ScoreRefusal.MANIFEST),
    "other_epoch": ({"epoch": 2}, ScoreRefusal.EPOCH),
    "no_epoch": ({"epoch": 0}, ScoreRefusal.EPOCH),
    "attempt_zero": ({"attempt": 0}, ScoreRefusal.MALFORMED),
    "dealer_missing": ({"dealers": NAMES[:3]}, ScoreRefusal.SERVERS),
    "dealer_twice": ({"dealers": (*NAMES, FOURTH)}, ScoreRefusal.SERVERS),
    "not_sorted": ({"dealers": NAMES[::-1]}, ScoreRefusal.SERVERS),
    "stranger": ({"dealers": (*NAMES, PartnerId("zed"))}, ScoreRefusal.SERVERS),
}


@pytest.mark.parametrize("name", OFFERS)
def test_offer_that_does_not_follow_from_the_manifest_is_refused(name: str) -> None:
    changes, code = OFFERS[name]
    ceremony = Ceremony(MANIFEST)
    machine = ceremony.machines[FIRST]
    offer = document_of(replace(ceremony.offer, **changes))
    assert reason_of(lambda: machine.on_offer([offer])) is code
    assert machine.state is EpochState.ABORTED


def test_new_key_for_an_epoch_that_has_one_is_refused() -> None:
    first = Ceremony(MANIFEST)
    holdings = first.run()
    for attempt in (1, 2):
        second = Ceremony(MANIFEST, attempt=attempt, holdings=holdings)
        assert reason_of(second.commit) is ScoreRefusal.EPOCH
    with pytest.raises(DecodeError):
        Ceremony(MANIFEST).machines[FIRST].on_offer([])
    extra = Ceremony(MANIFEST, record=first.signed)
    assert reason_of(extra.commit) is ScoreRefusal.EPOCH


def _cut(documents: list[bytes]) -> list[bytes]:
    return documents[1:]


STEPS: dict[str, tuple[Callable[[Ceremony, list[bytes]], list[bytes]], ScoreRefusal]] = {
    "one_missing": (lambda _, shown: shown[:-1], ScoreRefusal.MALFORMED),
    "one_twice": (lambda _, shown: [*shown[:-1], shown[0]], ScoreRefusal.MALFORMED),
    "of_an_earlier_attempt": (
        lambda _, shown: [*shown[:-1], _until_reveal(attempt=7).commits[FOURTH]],
        ScoreRefusal.EPOCH,
    ),
    "of_another_step": (
        lambda c, shown: [*shown[:-1], _resigned(c, FOURTH, Step.REVEAL, b"")],
        ScoreRefusal.EPOCH,
    ),
    "signed_by_another": (
        lambda c, shown: [
            *shown[:-1],
            sign_step(
                offer_digest(c.offer), FOURTH, Step.COMMIT, body=b"", key=Party(FIRST).identity
            ),
        ],
        ScoreRefusal.SIGNATURE,
    ),
    "by_a_stranger": (
        lambda c, shown: [*shown, _resigned(c, PartnerId("zed"), Step.COMMIT, b"")],
        ScoreRefusal.REQUESTER,
    ),
    "in_this_members_name": (
        lambda c, shown: [_resigned(c, FIRST, Step.COMMIT, bytes(32)), *_cut(shown)],
        ScoreRefusal.EPOCH,
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_commits_that_are_not_one_signed_step_of_each_are_refused(name: str) -> None:
    change, code = STEPS[name]
    ceremony = _until_reveal()
    shown = change(ceremony, [ceremony.commits[one] for one in NAMES])
    assert reason_of(lambda: ceremony.machines[FIRST].on_commits(shown)) is code


def _other_dealing(ceremony: Ceremony) -> dict[str, bytes]:
    dealing = deal(
        secret_of("late"), offer_digest(ceremony.offer), epoch=EPOCH, member=FOURTH, threshold=3
    )
    return {"commitments": dealing.commitments, "proof": dealing.proof}


def test_polynomial_chosen_after_the_others_were_revealed_is_refused() -> None:
    """The last mover would otherwise choose the common key."""
    ceremony = _revealed()
    _change_reveal(ceremony, FOURTH, **_other_dealing(ceremony))
    with pytest.raises(ScoreRefusalError, match=f"S15 {FOURTH}"):
        ceremony.confirm_one(FIRST)


def _committed_to(ceremony: Ceremony, **changes: Any) -> None:  # noqa: ANN401
    """FOURTH commits to, and then reveals, a polynomial that is changed so."""
    honest = deal(
        ceremony.facts(FOURTH).secret,
        offer_digest(ceremony.offer),
        epoch=EPOCH,
        member=FOURTH,
        threshold=3,
    )
    shown = {"commitments": honest.commitments, "proof": honest.proof, **changes}
    body = commitment_hash(EPOCH, FOURTH, shown["commitments"], shown["proof"])
    ceremony.commits[FOURTH] = _resigned(ceremony, FOURTH, Step.COMMIT, body)
    for name in NAMES[:3]:
        shown_commits = [ceremony.commits[one] for one in NAMES]
        ceremony.reveals[name] = ceremony.machines[name].on_commits(shown_commits)
    commits = open_steps(
        [ceremony.commits[one] for one in NAMES],
        offer_digest(ceremony.offer),
        Step.COMMIT,
        MANIFEST,
    )
    seen = digest_of_steps(Label.DKG_COMMITS, offer_digest(ceremony.offer), commits)
    boxes = tuple(Box(member=name, sealed=bytes(48)) for name in NAMES[:3])
    reveal = Reveal(
        seen=seen, commitments=shown["commitments"], proof=shown["proof"], boxes=boxes
    )
    ceremony.reveals[FOURTH] = _resigned(ceremony, FOURTH, Step.REVEAL, document_of(reveal))


ROGUE: dict[str, tuple[Callable[[Ceremony], dict[str, bytes]], ScoreRefusal]] = {
    "proof_of_another": (
        lambda c: {"proof": _other_dealing(c)["proof"]},
        ScoreRefusal.PROOF,
    ),
    "key_of_others_without_its_logarithm": (
        lambda c: {"commitments": _reveal_like(c, SECOND) + _honest(c)[32:]},
        ScoreRefusal.PROOF,
    ),
    "no_point": (
        lambda c: {"commitments": b"\x01" + bytes(31) + _honest(c)[32:]},
        ScoreRefusal.POINT,
    ),
    "identity": (lambda c: {"commitments": _honest(c)[:64] + IDENTITY}, ScoreRefusal.POINT),
    "lower_degree": (lambda c: {"commitments": _honest(c)[:64]}, ScoreRefusal.MALFORMED),
    "higher_degree": (
        lambda c: {"commitments": _honest(c) + _honest(c)[:32]},
        ScoreRefusal.MALFORMED,
    ),
    "proof_cut": (lambda _: {"proof": bytes(63)}, ScoreRefusal.MALFORMED),
}


def _honest(ceremony: Ceremony) -> bytes:
    return deal(
        ceremony.facts(FOURTH).secret,
        offer_digest(ceremony.offer),
        epoch=EPOCH,
        member=FOURTH,
        threshold=3,
    ).commitments


def _reveal_like(ceremony: Ceremony, name: PartnerId) -> bytes:
    """``A_0`` of another member: a rogue key copies or cancels it."""
    facts = ceremony.facts(name)
    return deal(
        facts.secret, offer_digest(ceremony.offer), epoch=EPOCH, member=name, threshold=3
    ).commitments[:32]


@pytest.mark.parametrize("name", ROGUE)
def test_polynomial_that_breaks_a_rule_is_refused_though_it_was_committed_to(
    name: str,
) -> None:
    change, code = ROGUE[name]
    ceremony = _until_reveal()
    _committed_to(ceremony, **change(ceremony))
    assert reason_of(lambda: ceremony.confirm_one(FIRST)) is code


def test_member_that_saw_other_commits_is_found_before_anything_is_signed() -> None:
    """Coordinator and one member together: two COMMITs of it, one for each half."""
    ceremony = _until_reveal()
    other = _resigned(ceremony, FOURTH, Step.COMMIT, bytes(32))
    ceremony.relay = lambda step, to, shown: (
        [*shown[:-1], other] if (step, to) == ("reveal", THIRD) else shown
    )
    ceremony.reveal()
    with pytest.raises(ScoreRefusalError, match=f"S13 {THIRD} was shown other"):
        ceremony.confirm_one(FIRST)
    assert reason_of(lambda: ceremony.confirm_one(THIRD)) is ScoreRefusal.EPOCH


def test_equivocation_in_the_reveals_lets_nobody_install() -> None:
    """Two REVEALs of one member, both good: the transcripts differ, no record is made."""
    ceremony = _revealed()
    honest = ceremony.reveals[FOURTH]
    boxes = _reveal_of(ceremony, FOURTH).boxes
    spoilt = (*boxes[:2], Box(member=THIRD, sealed=bytes(48)))
    _change_reveal(ceremony, FOURTH, boxes=spoilt)
    other, ceremony.reveals[FOURTH] = ceremony.reveals[FOURTH], honest
    ceremony.relay = lambda step, to, shown: (
        [*shown[:-1], other] if (step, to) == ("confirm", FIRST) else shown
    )
    ceremony.confirm()
    confirms = [ceremony.confirmed[name].document for name in NAMES]
    made = lambda: record_of(confirms, ceremony.offer, MANIFEST)  # noqa: E731 - called twice
    assert reason_of(made) is ScoreRefusal.EPOCH
    # The three that agree are not all holders either: their record is no record.
    agreed = [ceremony.confirmed[name] for name in NAMES[1:]]
    bodies = [
        parse_document(Confirm, parse_document(EpochStep, one.document).body) for one in agreed
    ]
    record = document_of(
        EpochRecord(
            document=bodies[0].document,
            signatures=tuple(
                _signature(name, body.signature)
                for name, body in zip(NAMES[1:], bodies, strict=True)
            ),
        )
    )
    for name in NAMES[1:]:
        machine = ceremony.machines[name]
        assert reason_of(lambda m=machine: m.on_record(record)) is ScoreRefusal.SIGNATURE


def _signature(member: PartnerId, signature: bytes) -> EpochSignature:
    return EpochSignature(member=member, signature=signature)


def _bad_share(ceremony: Ceremony, dealer: PartnerId, receiver: PartnerId) -> None:
    """The dealer seals a share that is not of its polynomial."""
    reveal = _reveal_of(ceremony, dealer)
    key = share_key(
        Party(dealer).agreement,
        MANIFEST.member(receiver),
        commits=reveal.seen,
        dealer=dealer,
        receiver=receiver,
    )
    bound = share_bound(EPOCH, MANIFEST.member(dealer).index, MANIFEST.member(receiver).index)
    bad = Box(member=receiver, sealed=seal_share(scalar_of(5), key, bound))
    boxes = tuple(bad if box.member == receiver else box for box in reveal.boxes)
    _change_reveal(ceremony, dealer, boxes=boxes)


def test_dealer_of_a_bad_share_is_named_by_opening_it() -> None:
    ceremony = _revealed()
    _bad_share(ceremony, FOURTH, SECOND)
    complained = ceremony.confirm_one(SECOND)
    assert isinstance(complained, Complained)
    assert complained.dealer == FOURTH
    assert ceremony.machines[SECOND].state is EpochState.ABORTED
    verdict = judge(complained.document, ceremony.offer, MANIFEST)
    assert verdict.culprits == (FOURTH,)
    # One opened share says nothing about the others' boxes.
    body = parse_document(Complaint, parse_document(EpochStep, complained.document).body)
    for box in _reveal_of(ceremony, FOURTH).boxes:
        if box.member != SECOND:
            with pytest.raises(DecodeError):
                _open(box, Secret(body.key))


def _open(box: Box, key: Secret) -> None:
    open_share(box.sealed, key, share_bound(EPOCH, 4, MANIFEST.member(box.member).index))


def test_share_that_does_not_open_names_both_for_neither_can_be_shown() -> None:
    ceremony = _revealed()
    boxes = _reveal_of(ceremony, FOURTH).boxes
    _change_reveal(ceremony, FOURTH, boxes=(Box(member=FIRST, sealed=bytes(48)), *boxes[1:]))
    complained = ceremony.confirm_one(FIRST)
    assert isinstance(complained, Complained)
    verdict = judge(complained.document, ceremony.offer, MANIFEST)
    assert verdict.culprits == (FIRST, FOURTH)


def _complaint(
    ceremony: Ceremony, *, by: PartnerId, dealer: PartnerId, key: Secret, reveal: bytes
) -> bytes:
    body = Complaint(dealer=dealer, key=key.expose(), reveal=reveal)
    return _resigned(ceremony, by, Step.COMPLAIN, document_of(body))


def test_false_complaint_names_the_complainer() -> None:
    ceremony = _revealed()
    key = share_key(
        Party(SECOND).agreement,
        MANIFEST.member(FOURTH),
        commits=_reveal_of(ceremony, FOURTH).seen,
        dealer=FOURTH,
        receiver=SECOND,
    )
    lie = _complaint(
        ceremony, by=SECOND, dealer=FOURTH, key=key, reveal=ceremony.reveals[FOURTH]
    )
    assert judge(lie, ceremony.offer, MANIFEST).culprits == (SECOND,)


def test_complaint_about_a_step_of_another_counts_for_nothing() -> None:
    ceremony = _revealed()
    key = secret_of("key")
    swapped = _complaint(
        ceremony, by=SECOND, dealer=FOURTH, key=key, reveal=ceremony.reveals[THIRD]
    )
    judged = lambda text: reason_of(lambda: judge(text, ceremony.offer, MANIFEST))  # noqa: E731
    assert judged(swapped) is ScoreRefusal.SIGNATURE
    for dealer in (SECOND, PartnerId("zed")):
        own = _complaint(
            ceremony, by=SECOND, dealer=dealer, key=key, reveal=ceremony.reveals[SECOND]
        )
        assert judged(own) is ScoreRefusal.SERVERS


def test_dealer_that_sealed_nothing_or_dealt_no_polynomial_is_the_culprit() -> None:
    ceremony = _revealed()
    key, boxes = secret_of("key"), _reveal_of(ceremony, FOURTH).boxes
    for changes in ({"boxes": boxes[1:]}, {"commitments": b""}):
        spoilt = _revealed()
        _change_reveal(spoilt, FOURTH, **changes)
        text = _complaint(
            spoilt, by=FIRST, dealer=FOURTH, key=key, reveal=spoilt.reveals[FOURTH]
        )
        assert judge(text, spoilt.offer, MANIFEST).culprits == (FOURTH,)


@pytest.mark.parametrize("cut", [slice(1, None), slice(0, 2)])
def test_reveal_without_a_box_for_each_other_member_is_refused(cut: slice) -> None:
    ceremony = _revealed()
    _change_reveal(ceremony, FOURTH, boxes=_reveal_of(ceremony, FOURTH).boxes[cut])
    assert reason_of(lambda: ceremony.confirm_one(THIRD)) is ScoreRefusal.MALFORMED


def _forms(value: bytes) -> list[bytes]:
    once = value.hex().encode()
    twice = once.hex().encode()
    return [value, once, twice, twice.hex().encode()]


def test_coordinator_learns_no_share_from_what_it_relays() -> None:
    ceremony = Ceremony(MANIFEST)
    holdings = ceremony.run()
    relayed = b"".join(
        (
            *ceremony.commits.values(),
            *ceremony.reveals.values(),
            ceremony.signed,
            *(one.document for one in ceremony.confirmed.values()),
        )
    )
    # Documents are in documents, each as hex: what can be found at all is found.
    assert any(form in relayed for form in _forms(holdings[FIRST].key.group_key))
    for name, holding in holdings.items():
        dealt = deal(
            ceremony.facts(name).secret,
            offer_digest(ceremony.offer),
            epoch=EPOCH,
            member=name,
            threshold=3,
        )
        for value in (*dealt.coefficients, holding.share.scalar):
            assert not any(form in relayed for form in _forms(value))


RECORDS: dict[str, tuple[Callable[[EpochKey], EpochKey], ScoreRefusal]] = {
    "other_epoch": (lambda key: replace(key, epoch=2), ScoreRefusal.EPOCH),
    "lower_threshold": (lambda key: replace(key, threshold=2), ScoreRefusal.SERVERS),
    "holder_left_out": (
        lambda key: replace(key, holders=key.holders[1:]),
        ScoreRefusal.SERVERS,
    ),
    "index_swapped": (
        lambda key: replace(
            key,
            holders=(replace(key.holders[0], index=9), *key.holders[1:]),
        ),
        ScoreRefusal.SERVERS,
    ),
    "index_twice": (
        lambda key: replace(
            key,
            holders=(replace(key.holders[0], index=2), *key.holders[1:]),
        ),
        ScoreRefusal.SERVERS,
    ),
    "other_group_key": (lambda key: replace(key, group_key=bytes(32)), ScoreRefusal.SIGNATURE),
}


@pytest.mark.parametrize("name", RECORDS)
def test_record_that_was_changed_is_refused(name: str) -> None:
    change, code = RECORDS[name]
    ceremony = Ceremony(MANIFEST)
    ceremony.commit()
    ceremony.reveal()
    ceremony.confirm()
    machine = ceremony.machines[FIRST]
    confirms = [ceremony.confirmed[one].document for one in NAMES]
    record = parse_document(EpochRecord, record_of(confirms, ceremony.offer, MANIFEST))
    key = change(parse_document(EpochKey, record.document))
    forged = document_of(replace(record, document=document_of(key)))
    assert reason_of(lambda: verify_record(forged, MANIFEST)) is code
    assert reason_of(lambda: machine.on_record(forged)) is code


def test_record_that_lacks_a_signature_or_shows_one_twice_is_refused() -> None:
    ceremony = Ceremony(MANIFEST)
    ceremony.run()
    record = parse_document(EpochRecord, ceremony.signed)
    first = record.signatures[0]
    for signatures in (
        record.signatures[:-1],
        (*record.signatures, first),
        (first, *record.signatures[:-1]),
        (),
    ):
        forged = document_of(replace(record, signatures=signatures))
        refused = reason_of(lambda f=forged: verify_record(f, MANIFEST))
        assert refused is ScoreRefusal.SIGNATURE


def test_polynomials_that_cancel_make_no_key() -> None:
    """The commitments rule it out; were they broken, the key would be known to everybody."""
    facts = Ceremony(MANIFEST).facts(FIRST)
    offer = Ceremony(MANIFEST).offer
    ceremony = accept_offer(facts, [document_of(offer)])
    values = [scalar_of(value) for value in (3, 4, 5)]
    negative = [scalar_of(value) for value in (-3, 6, 7)]
    polynomials = {FIRST: commit(values), SECOND: commit(negative)}
    refused = reason_of(lambda: key_of(ceremony, polynomials, {}, {}))
    assert refused is ScoreRefusal.POINT


def test_record_with_a_point_of_another_size_is_not_understood() -> None:
    ceremony = Ceremony(MANIFEST)
    ceremony.run()
    record = parse_document(EpochRecord, ceremony.signed)
    key = replace(parse_document(EpochKey, record.document), group_key=b"short")
    with pytest.raises(DecodeError):
        verify_record(document_of(replace(record, document=document_of(key))), MANIFEST)


def test_record_of_another_ceremony_is_not_installed() -> None:
    ceremony, other = Ceremony(MANIFEST), Ceremony(MANIFEST, tag="other")
    ceremony.run()
    other.commit()
    other.reveal()
    other.confirm()
    machine = other.machines[FIRST]
    assert reason_of(lambda: machine.on_record(ceremony.signed)) is ScoreRefusal.EPOCH
    share = other.share(FIRST)
    refused = reason_of(lambda: install(ceremony.signed, MANIFEST, share))
    assert refused is ScoreRefusal.EPOCH


# --- resharing -----------------------------------------------------------------------------

JOINED = names_of(6)
"""Two join: t rises from 3 to 4."""


def _reshared(
    first: Ceremony,
    holdings: dict[PartnerId, Holding],
    *,
    names: tuple[PartnerId, ...] = JOINED,
    left: tuple[PartnerId, ...] = (),
    dealers: tuple[PartnerId, ...] = NAMES[:3],
) -> Ceremony:
    return Ceremony(
        manifest_of(names, left=left, version=2),
        attempt=2,
        dealers=dealers,
        previous=holdings[FIRST].key.digest,
        record=first.signed,
        holdings=holdings,
    )


@pytest.fixture(scope="module")
def begun() -> tuple[Ceremony, dict[PartnerId, Holding]]:
    ceremony = Ceremony(MANIFEST)
    return ceremony, ceremony.run()


Begun = tuple[Ceremony, dict[PartnerId, Holding]]


def test_resharing_to_more_members_keeps_every_token(begun: Begun) -> None:
    first, holdings = begun
    before = KeyHolders(MANIFEST, holdings).tokens(FIRST, [b"x", b"y"], NAMES[1:])
    second = _reshared(first, holdings)
    renewed = second.run()
    key = renewed[FIRST].key
    assert (key.threshold, len(key.holders), key.previous) == (4, 6, holdings[FIRST].key.digest)
    assert key.group_key == holdings[FIRST].key.group_key
    after = KeyHolders(second.manifest, renewed)
    assert after.tokens(JOINED[5], [b"x", b"y"], JOINED[2:]) == before
    assert {renewed[n].share.share.expose() for n in NAMES}.isdisjoint(
        {holdings[n].share.share.expose() for n in NAMES}
    )


def test_resharing_without_a_leaver_keeps_every_token_and_its_share_is_worth_nothing(
    begun: Begun,
) -> None:
    first, holdings = begun
    before = KeyHolders(MANIFEST, holdings).tokens(FIRST, [b"x"], NAMES[:3])
    names = NAMES[:3]
    second = _reshared(first, holdings, names=names, left=(FOURTH,))
    renewed = second.run()
    assert renewed[FIRST].key.threshold == 2
    assert KeyHolders(second.manifest, renewed).tokens(FIRST, [b"x"], names[:2]) == before
    # The leaver's old share with one new share is no key.
    mixed = {**renewed, FOURTH: holdings[FOURTH]}
    whole = base_mult(_secret_key(mixed, (FIRST, FOURTH)))
    assert whole != renewed[FIRST].key.group_key


RESHARES: dict[str, tuple[dict[str, Any], ScoreRefusal]] = {
    "dealer_that_holds_nothing": (
        {"dealers": (FIRST, SECOND, JOINED[4])},
        ScoreRefusal.SERVERS,
    ),
    "too_few_dealers": ({"dealers": NAMES[:2]}, ScoreRefusal.SERVERS),
    "too_many_dealers": ({"dealers": NAMES}, ScoreRefusal.SERVERS),
    "another_record": ({"previous": Digest("11" * 32)}, ScoreRefusal.EPOCH),
    "earlier_attempt": ({"attempt": 1}, ScoreRefusal.EPOCH),
}


@pytest.mark.parametrize("name", RESHARES)
def test_resharing_that_breaks_a_rule_is_refused(begun: Begun, name: str) -> None:
    changes, code = RESHARES[name]
    second = _reshared(*begun)
    for field, value in changes.items():
        setattr(second, field, value)
    # The joiner has nothing but the record to go by, and finds the same.
    for member in (FIRST, JOINED[5]):
        machine = second.machines[member]
        assert reason_of(lambda m=machine: m.on_offer(second.offered())) is code


def test_resharing_without_the_old_record_is_refused(begun: Begun) -> None:
    second = _reshared(*begun)
    second.record = b""
    with pytest.raises(DecodeError):
        second.commit()


def test_dealer_that_deals_another_share_than_its_own_is_refused(begun: Begun) -> None:
    """A wrong constant term would change the key, and every token with it."""
    first, holdings = begun
    second = _reshared(first, holdings)
    stolen = replace(
        holdings[SECOND], share=replace(holdings[SECOND].share, share=Secret(scalar_of(7)))
    )
    facts = replace(second.facts(SECOND), holding=stolen)
    second.machines[SECOND] = EpochMachine(facts)
    second.commit()
    second.reveal()
    with pytest.raises(ScoreRefusalError, match=f"S15 {SECOND} deals another share"):
        second.confirm_one(JOINED[4])


def test_member_without_a_share_does_not_deal(begun: Begun) -> None:
    first, holdings = begun
    kept = {name: one for name, one in holdings.items() if name != SECOND}
    second = _reshared(first, kept)
    assert reason_of(second.commit) is ScoreRefusal.EPOCH


def test_receiver_that_slips_in_a_polynomial_is_refused(begun: Begun) -> None:
    second = _reshared(*begun)
    second.commit()
    second.reveal()
    joiner = JOINED[4]
    reveal = _reveal_of(second, joiner)
    assert (reveal.commitments, reveal.boxes) == (b"", ())
    for changes, code in (
        ({"commitments": _reveal_of(second, FIRST).commitments}, ScoreRefusal.PROOF),
        ({"boxes": _reveal_of(second, FIRST).boxes}, ScoreRefusal.MALFORMED),
    ):
        body = document_of(replace(reveal, **changes))  # type: ignore[arg-type]
        second.reveals[joiner] = _resigned(second, joiner, Step.REVEAL, body)
        machine = EpochMachine(second.facts(FIRST))
        machine.on_offer(second.offered())
        machine.on_commits([second.commits[name] for name in JOINED])
        shown = [second.reveals[name] for name in JOINED]
        assert reason_of(lambda m=machine, s=shown: m.on_reveals(s)) is code


def test_resharing_from_a_record_whose_shares_are_not_of_its_key_is_refused(
    begun: Begun,
) -> None:
    """All old holders signed it: still no joiner takes another key for the epoch's."""
    first, holdings = begun
    record = parse_document(EpochRecord, first.signed)
    other = replace(holdings[FIRST].key, group_key=base_mult(scalar_of(9)))
    signatures = tuple(
        _signature(name, sign_key(other, Party(name).identity)) for name in NAMES
    )
    signed = replace(record, document=document_of(other), signatures=signatures)
    second = _reshared(first, {name: replace(one, key=other) for name, one in holdings.items()})
    second.record = document_of(signed)
    second.commit()
    second.reveal()
    with pytest.raises(ScoreRefusalError, match="S15 a resharing that changes the key"):
        second.confirm_one(JOINED[5])


def test_old_record_that_other_holders_do_not_hold_is_refused(begun: Begun) -> None:
    """A record of the same epoch from elsewhere, good in itself."""
    _, holdings = begun
    other = Ceremony(MANIFEST, tag="elsewhere")
    elsewhere = other.run()
    second = _reshared(other, elsewhere)
    second.holdings = holdings
    machine = EpochMachine(second.facts(FIRST))
    assert reason_of(lambda: machine.on_offer(second.offered())) is ScoreRefusal.EPOCH
