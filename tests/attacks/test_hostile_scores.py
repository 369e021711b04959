"""Hostile askers, responders and coordinators of joint scores; each refusal by its code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from consortium.canonical import Label
from consortium.crypto.keys import IdentityKey
from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.ids import PartnerId
from consortium.inquiries import Inquiry, Purpose, ScoreAnswer, ScoreRequest
from consortium.manifest import Delivery, Disclosure
from consortium.scoring.clear import context_of, inquiry_bytes, parse_inquiry
from consortium.scoring.consent import RECEIPT_BYTES, pack, receipts_digest
from consortium.scoring.guard import check_new
from consortium.scoring.inquiry import seal_inquiry
from consortium.scoring.layout import Layout, encode_holding
from consortium.scoring.partial import answer, refuse, verify_refusal
from consortium.scoring.roster import Rosters, sign_roster
from tests.scoring_house import (
    COORDINATOR,
    LAYOUT,
    NOW,
    NOW_MS,
    SCORING,
    VERSION,
    Holding,
    House,
    nobody,
    receipt_of,
    request_id,
)
from tests.secagg_house import digest, secret_of

HOUSE = House(4)
ASKER, ME, OTHER, LAST = HOUSE.ids
SMALL_ORDER = bytes(32)


@contextmanager
def refused(code: ScoreRefusal, text: str = ".") -> Iterator[None]:
    with pytest.raises(ScoreRefusalError, match=text) as caught:
        yield
    assert caught.value.reason is code


def signed(
    request: ScoreRequest, clear: bytes, house: House = HOUSE, by: PartnerId = ASKER
) -> ScoreRequest:
    """``request`` with another clear part, properly signed by its asker."""
    context = bytes.fromhex(context_of(clear, house.manifest.digest))
    signature = house.keys[by].identity.sign(Label.SCORE_REQUEST, context)
    return replace(request, inquiry=clear, signature=signature)


def changed(request: ScoreRequest, **changes: object) -> ScoreRequest:
    inquiry = replace(parse_inquiry(request.inquiry), **changes)  # type: ignore[arg-type]
    return signed(request, inquiry_bytes(inquiry))


def flipped(data: bytes, place: int = 3) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_honest_request_is_opened_by_everybody_else() -> None:
    request, secrets = HOUSE.seal(ASKER, [receipt_of(0), receipt_of(1)])
    for name in (ME, OTHER, LAST):
        opened = HOUSE.open(request, name)
        assert opened.context == secrets.context
        assert [bytes(token) for token in opened.receipts.tokens] == [
            receipt_of(0).token,
            receipt_of(1).token,
        ]


# Rosters, protocol 7.2.


def test_roster_that_the_coordinator_did_not_sign_is_refused() -> None:
    rosters = Rosters(HOUSE.manifest)
    with refused(ScoreRefusal.ROSTER, "not signed"):
        rosters.add(replace(HOUSE.roster(), signature=bytes(64)), now=NOW)
    partner = IdentityKey.from_secret(secret_of(f"identity {ASKER}"))
    with refused(ScoreRefusal.ROSTER, "not signed"):
        rosters.add(sign_roster(HOUSE.roster(), partner), now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": VERSION + 1},
        {"model": digest("another")},
        {"head": digest("head")},
        {"partners": HOUSE.ids[:3]},
        {"valid_until": NOW + 59},
    ],
    ids=str,
)
def test_roster_changed_after_it_was_signed_is_refused(changes: dict[str, object]) -> None:
    altered = replace(HOUSE.roster(), **changes)  # type: ignore[arg-type]
    with refused(ScoreRefusal.ROSTER, "not signed"):
        Rosters(HOUSE.manifest).add(altered, now=NOW)


def test_roster_under_another_manifest_is_refused() -> None:
    with refused(ScoreRefusal.MANIFEST):
        Rosters(HOUSE.manifest).add(HOUSE.roster(manifest=digest("other")), now=NOW)


@pytest.mark.parametrize("until", [NOW, NOW - 1, NOW + 61])
def test_roster_out_of_date_or_valid_for_too_long_is_refused(until: int) -> None:
    with refused(ScoreRefusal.ROSTER, "valid until"):
        Rosters(HOUSE.manifest).add(HOUSE.roster(valid_until=until), now=NOW)


@pytest.mark.parametrize(
    "partners",
    [HOUSE.ids[::-1], (*HOUSE.ids, PartnerId("stranger")), (*HOUSE.ids, HOUSE.ids[-1])],
    ids=["unsorted", "stranger", "doubled"],
)
def test_roster_of_other_than_active_partners_is_refused(
    partners: tuple[PartnerId, ...],
) -> None:
    with refused(ScoreRefusal.ROSTER, "active"):
        Rosters(HOUSE.manifest).add(HOUSE.roster(partners=partners), now=NOW)


def test_second_roster_of_one_version_and_an_older_version_are_refused() -> None:
    rosters = Rosters(HOUSE.manifest)
    rosters.add(HOUSE.roster(), now=NOW)
    with refused(ScoreRefusal.ROSTER, "two rosters"):
        rosters.add(HOUSE.roster(partners=HOUSE.ids[:3]), now=NOW)
    rosters.add(HOUSE.roster(version=VERSION + 1), now=NOW)
    with refused(ScoreRefusal.ROSTER, "after"):
        rosters.add(HOUSE.roster(version=VERSION - 1), now=NOW)
    assert rosters.newest(now=NOW).version == VERSION + 1


def test_request_for_a_roster_that_ran_out_or_is_not_known_is_refused() -> None:
    later = NOW_MS + 61_000
    request, _ = HOUSE.seal(ASKER, deadline=later + 500)
    with refused(ScoreRefusal.ROSTER, "no valid roster"):
        HOUSE.open(request, ME, now_ms=later)
    request, _ = HOUSE.seal(ASKER, roster_version=VERSION + 1)
    with refused(ScoreRefusal.ROSTER, "no valid roster"):
        HOUSE.open(request, ME)


@pytest.mark.parametrize("absent", [ASKER, ME])
def test_roster_without_asker_or_responder_is_refused(absent: PartnerId) -> None:
    rest = tuple(name for name in HOUSE.ids if name != absent)
    rosters = Rosters(HOUSE.manifest)
    rosters.add(HOUSE.roster(partners=rest), now=NOW)
    request, _ = HOUSE.seal(ASKER)
    with refused(ScoreRefusal.ROSTER, "not for the roster"):
        HOUSE.open(request, ME, rosters=rosters)
    with refused(ScoreRefusal.ROSTER, "not in the inquiry"):
        HOUSE.open(changed(request, roster=rest), ME, rosters=rosters)


def test_roster_below_the_floor_is_refused() -> None:
    pair = House(2)
    request, _ = pair.seal(pair.ids[0])
    with refused(ScoreRefusal.ROSTER, "fewer than 2"):
        pair.open(request, pair.ids[1])
    strict = House(4, replace(SCORING, min_responders=4))
    request, _ = strict.seal(strict.ids[0])
    with refused(ScoreRefusal.ROSTER, "fewer than 4"):
        strict.open(request, strict.ids[1])


def test_asker_that_picks_whom_it_asks_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER, roster=(ASKER, ME, OTHER))
    with refused(ScoreRefusal.ROSTER, "not for the roster"):
        HOUSE.open(request, ME)
    retry, _ = HOUSE.seal(ASKER, roster=(ASKER, ME, OTHER), retry_of=request_id(9))
    assert HOUSE.open(retry, ME).inquiry.retry_of == request_id(9)
    alone, _ = HOUSE.seal(ASKER, roster=(ASKER, ME), retry_of=request_id(9))
    with refused(ScoreRefusal.ROSTER, "fewer"):
        HOUSE.open(alone, ME)


# Askers, protocol 7.3, 7.5 and 7.16.


def test_request_signed_by_another_partner_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    with refused(ScoreRefusal.SIGNATURE):
        HOUSE.open(signed(request, request.inquiry, by=OTHER), ME)
    with refused(ScoreRefusal.SIGNATURE):
        HOUSE.open(replace(request, signature=b""), ME)


def test_request_in_the_name_of_another_partner_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    stolen = inquiry_bytes(replace(parse_inquiry(request.inquiry), requester=OTHER))
    with refused(ScoreRefusal.SIGNATURE):
        HOUSE.open(signed(request, stolen, by=ASKER), ME)


def test_request_made_under_another_manifest_is_refused() -> None:
    other = House(4, replace(SCORING, answer_ms=9))
    request, _ = other.seal(ASKER)
    with refused(ScoreRefusal.SIGNATURE):
        HOUSE.open(request, ME)


@pytest.mark.parametrize("name", ["stranger", "coordinator", ME])
def test_asker_that_is_no_other_active_partner_is_refused(name: str) -> None:
    request, _ = HOUSE.seal(ASKER)
    with refused(ScoreRefusal.REQUESTER):
        HOUSE.open(changed(request, requester=PartnerId(name)), ME)


def test_delivery_mode_decides_who_may_ask() -> None:
    local = House(4, replace(SCORING, delivery=Delivery.PARTNER_LOCAL))
    request, _ = local.seal(ASKER)
    with refused(ScoreRefusal.DELIVERY):
        local.open(request, ME)
    bureau = House(4, replace(SCORING, delivery=Delivery.VIA_LICENSED_BUREAU, bureau=OTHER))
    request, _ = bureau.seal(ASKER)
    with refused(ScoreRefusal.DELIVERY):
        bureau.open(request, ME)
    request, _ = bureau.seal(OTHER)
    assert bureau.open(request, ME).inquiry.requester == OTHER


@pytest.mark.parametrize("deadline", [NOW_MS, NOW_MS - 1, NOW_MS + 60_001])
def test_deadline_that_passed_or_is_far_away_is_refused(deadline: int) -> None:
    request, _ = HOUSE.seal(ASKER, deadline=deadline)
    with refused(ScoreRefusal.DEADLINE):
        HOUSE.open(request, ME)


def test_model_that_is_not_served_here_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER, model=digest("older model"))
    with refused(ScoreRefusal.MODEL):
        HOUSE.open(request, ME)


def test_second_model_that_is_served_but_not_the_rosters_is_refused() -> None:
    # Two models of one person would give an asker two equations for what others hold.
    earlier = digest("older model")
    request, _ = HOUSE.seal(ASKER, model=earlier)
    both = {earlier: HOUSE.layout, HOUSE.terms().model: HOUSE.layout}
    with refused(ScoreRefusal.MODEL):
        HOUSE.open(request, ME, served=both)


def test_replayed_request_id_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    inquiry = HOUSE.open(request, ME).inquiry
    check_new(inquiry, {request_id(2)})
    with refused(ScoreRefusal.REPLAY):
        check_new(inquiry, {request_id(2), inquiry.request})


# Consent, protocol 7.8.


@pytest.mark.parametrize(
    "changes",
    [
        {"purposes": frozenset({Purpose.CALIBRATION, Purpose.IMPACT_STUDY})},
        {"purposes": frozenset()},
        {"expires": NOW},
        {"families": 0},
        {"families": 1 << len(LAYOUT.families)},
        {"method": 0},
        {"method": 4},
    ],
    ids=[
        "other purposes",
        "no purpose",
        "expired",
        "no family",
        "family beyond the model",
        "no method",
        "unknown method",
    ],
)
def test_receipt_that_does_not_cover_the_inquiry_is_refused(
    changes: dict[str, object],
) -> None:
    receipts = [receipt_of(0), receipt_of(1, **changes), receipt_of(2)]
    request, _ = HOUSE.seal(ASKER, receipts)
    with refused(ScoreRefusal.PURPOSE):
        HOUSE.open(request, ME)


def test_receipt_for_another_purpose_than_the_inquirys_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER, purpose=Purpose.CALIBRATION)
    with refused(ScoreRefusal.PURPOSE):
        HOUSE.open(request, ME)


def test_purpose_that_nobody_listed_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    clear = request.inquiry.replace(b'"JOINT_SCORE"', b'"MARKETING"')
    with refused(ScoreRefusal.PURPOSE):
        HOUSE.open(signed(request, clear), ME)


def test_receipt_that_is_marked_withdrawn_is_refused() -> None:
    data = pack([receipt_of(0)])
    assert data[-1] == 1
    keys, entropy = HOUSE.keys[ASKER], secret_of("entropy")
    request, _ = seal_inquiry(keys, HOUSE.terms(), data[:-1] + bytes(1), entropy=entropy)
    with refused(ScoreRefusal.PURPOSE):
        HOUSE.open(request, ME)


def test_token_of_another_epoch_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER, [receipt_of(0), receipt_of(1, epoch=2)])
    with refused(ScoreRefusal.EPOCH):
        HOUSE.open(request, ME)


def test_families_without_consent_are_not_answered() -> None:
    request, _ = HOUSE.seal(ASKER, [receipt_of(0, families=0b10), receipt_of(1)])
    opened = HOUSE.open(request, ME)
    logits = {"repayment": np.array([5, 6]), "billing": np.array([7, 8])}
    allowed = opened.receipts.allowed(len(LAYOUT.families))
    words = encode_holding(LAYOUT, logits, np.array([True, True]), allowed=allowed)
    assert words[:, :4].tolist() == [[0, 0, 7, 1], [6, 1, 8, 1]]


# Sizes, seals and digests, protocol 7.3.


def test_totals_are_not_taken_apart_by_receipts_for_some_of_the_families() -> None:
    house = House(4, layout=Layout(LAYOUT.families, Disclosure.TOTAL_ONLY))
    request, _ = house.seal(ASKER, [receipt_of(0), receipt_of(1, families=0b10)])
    with refused(ScoreRefusal.PURPOSE, "some of the families"):
        house.open(request, ME)
    whole, _ = house.seal(ASKER, [receipt_of(0), receipt_of(1)])
    assert len(house.open(whole, ME).receipts) == 2


def test_sealed_part_that_does_not_match_its_digest_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    with refused(ScoreRefusal.MALFORMED, "not the one that was signed"):
        HOUSE.open(replace(request, sealed=flipped(request.sealed)), ME)


def test_sealed_part_that_does_not_open_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    other, _ = HOUSE.seal(ASKER, request=request_id(2))
    moved = changed(replace(request, sealed=other.sealed), sealed=_sealed_digest(other))
    with refused(ScoreRefusal.MALFORMED, "does not open"):
        HOUSE.open(moved, ME)


def _sealed_digest(request: ScoreRequest) -> str:
    return parse_inquiry(request.inquiry).sealed


def test_wrap_of_another_responder_or_request_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    mine, others = request.wraps[0], request.wraps[1]
    assert mine.member == ME
    swapped = replace(mine, key=others.key)
    with refused(ScoreRefusal.MALFORMED, "does not open"):
        HOUSE.open(replace(request, wraps=(swapped, *request.wraps[1:])), ME)
    other, _ = HOUSE.seal(ASKER, request=request_id(2))
    with refused(ScoreRefusal.MALFORMED, "does not open"):
        HOUSE.open(replace(request, wraps=other.wraps), ME)


def test_wrap_that_is_missing_doubled_or_short_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    mine = request.wraps[0]
    short = replace(mine, key=mine.key[:-1])
    for wraps in (request.wraps[1:], (mine, *request.wraps), (short, *request.wraps[1:])):
        with refused(ScoreRefusal.MALFORMED, "wraps for this"):
            HOUSE.open(replace(request, wraps=wraps), ME)


def test_different_persons_than_the_clear_part_commits_to_are_refused() -> None:
    # Two responders that see different persons under one context would let the asker take
    # their answers apart; AES-GCM alone does not rule it out.
    request, _ = HOUSE.seal(ASKER, [receipt_of(0)])
    other, _ = HOUSE.seal(ASKER, [receipt_of(1)])
    consents = parse_inquiry(other.inquiry).consents
    with refused(ScoreRefusal.MALFORMED, "not those that were signed"):
        HOUSE.open(changed(request, consents=consents), ME)


@pytest.mark.parametrize("persons", [2, 255])
def test_batch_of_another_size_than_it_says_is_refused(persons: int) -> None:
    request, _ = HOUSE.seal(ASKER)
    with refused(ScoreRefusal.MALFORMED, f"for {persons} persons"):
        HOUSE.open(changed(request, persons=persons), ME)


def test_batch_over_256_persons_is_not_sealed() -> None:
    with refused(ScoreRefusal.MALFORMED):
        HOUSE.seal(ASKER, [receipt_of(0)] * 257)
    with refused(ScoreRefusal.MALFORMED):
        HOUSE.seal(ASKER, [])


def test_one_time_key_of_small_order_is_refused() -> None:
    request, _ = HOUSE.seal(ASKER)
    with refused(ScoreRefusal.MALFORMED, "small order"):
        HOUSE.open(changed(request, ephemeral=SMALL_ORDER), ME)


def _spaced(clear: bytes) -> bytes:
    return clear.replace(b",", b", ", 1)


def _doubled(clear: bytes) -> bytes:
    return clear.replace(b'{"', b'{"model":"' + b"0" * 64 + b'","', 1)


def _upper(clear: bytes) -> bytes:
    inquiry = parse_inquiry(clear)
    ephemeral = inquiry.ephemeral.hex().encode()
    return clear.replace(ephemeral, ephemeral.upper())


def _wider(clear: bytes) -> bytes:
    return clear.replace(b'"persons":1', b'"persons":1,"persuade":1')


def _real(clear: bytes) -> bytes:
    return clear.replace(b'"persons":1', b'"persons":1.0')


def _true(clear: bytes) -> bytes:
    return clear.replace(b'"persons":1', b'"persons":true')


def _unsorted(clear: bytes) -> bytes:
    return clear.replace(b'"p00","p01"', b'"p01","p00"')


def _utf16(clear: bytes) -> bytes:
    return clear.decode().encode("utf-16")


def _twice_retried(clear: bytes) -> bytes:
    one = b'"' + b"ab" * 16 + b'"'
    return clear.replace(b'"retry_of":[]', b'"retry_of":[' + one + b"," + one + b"]")


@pytest.mark.parametrize(
    "rewrite",
    [
        *(_spaced, _doubled, _upper, _wider, _real, _true, _unsorted, _utf16),
        _twice_retried,
    ],
)
def test_clear_part_that_is_not_canonical_is_refused(
    rewrite: Callable[[bytes], bytes],
) -> None:
    request, _ = HOUSE.seal(ASKER)
    clear = rewrite(request.inquiry)
    assert clear != request.inquiry
    with refused(ScoreRefusal.MALFORMED, "clear part|sorted"):
        HOUSE.open(signed(request, clear), ME)


@pytest.mark.parametrize(
    "clear",
    [b"", b"{}", b"[]", b"null", b"[" * 5_000, b"\xff\xfe", b'{"a":' + b"9" * 5_000 + b"}"],
    ids=lambda clear: clear[:8].hex(),
)
def test_garbage_for_a_clear_part_is_refused(clear: bytes) -> None:
    request, _ = HOUSE.seal(ASKER)
    with refused(ScoreRefusal.MALFORMED):
        HOUSE.open(signed(request, clear), ME)


def test_clear_part_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    request, _ = HOUSE.seal(ASKER)
    with refused(ScoreRefusal.MALFORMED, "bytes"):
        HOUSE.open(signed(request, request.inquiry + b" " * 8_192), ME)


# Answers, protocol 7.5 and 7.6.


def holdings(persons: int = 2) -> dict[PartnerId, Holding]:
    held = np.ones(persons, dtype=np.bool_)
    logits = {"repayment": np.arange(persons) + 100}
    return {ASKER: nobody(persons), ME: (logits, held), OTHER: nobody(persons)} | {
        LAST: ({"orders": np.arange(persons) - 7}, held)
    }


class Asked:
    """One request of ASKER with everybody's answer."""

    def __init__(self, number: int = 1) -> None:
        receipts = [receipt_of(0), receipt_of(1)]
        self.request, self.secrets = HOUSE.seal(ASKER, receipts, request=request_id(number))
        self.answers = HOUSE.answers(self.request, ASKER, holdings())

    def combine(self, *answers: ScoreAnswer) -> list[list[int]]:
        own = HOUSE.encode(nobody(2))
        return HOUSE.combine(self.secrets, answers, own, ASKER).logits.tolist()


def test_answers_give_the_sum_in_any_order() -> None:
    asked = Asked()
    expected = [[100, 0, 0, 0, -7], [101, 0, 0, 0, -6]]
    assert asked.combine(*asked.answers) == expected
    assert asked.combine(*asked.answers[::-1]) == expected


def test_dropped_answer_is_incomplete_and_names_the_silent() -> None:
    asked = Asked()
    with refused(ScoreRefusal.INCOMPLETE, f"no answer of {OTHER}, {LAST}"):
        asked.combine(asked.answers[0])


def test_swapped_answers_are_refused_and_name_a_partner() -> None:
    asked = Asked()
    mine, other, last = asked.answers
    words = replace(mine, words=other.words), replace(other, words=mine.words), last
    with refused(ScoreRefusal.ANSWER, f"answer of {ME}: its signature"):
        asked.combine(*words)
    names = replace(mine, member=OTHER), replace(other, member=ME), last
    with refused(ScoreRefusal.ANSWER, f"answer of {OTHER}: its signature"):
        asked.combine(*names)


def test_partner_answering_for_another_is_refused() -> None:
    asked = Asked()
    mine, _, last = asked.answers
    opened = HOUSE.open(asked.request, ME)
    forged = replace(answer(opened, HOUSE.encode(nobody(2)), HOUSE.keys[ME]), member=OTHER)
    with refused(ScoreRefusal.ANSWER, f"answer of {OTHER}: its signature"):
        asked.combine(mine, forged, last)


@pytest.mark.parametrize("place", [0, 95, 191])
def test_flipped_bit_of_an_answer_is_refused(place: int) -> None:
    asked = Asked()
    mine, *rest = asked.answers
    with refused(ScoreRefusal.ANSWER, f"answer of {ME}: its signature"):
        asked.combine(replace(mine, words=flipped(mine.words, place)), *rest)


def test_answer_to_another_request_is_refused() -> None:
    asked, earlier = Asked(1), Asked(2)
    _, *rest = asked.answers
    old = earlier.answers[0]
    with refused(ScoreRefusal.ANSWER, f"answer of {ME}: for another request"):
        asked.combine(old, *rest)
    with refused(ScoreRefusal.ANSWER, f"answer of {ME}: its signature"):
        asked.combine(replace(old, context=asked.secrets.context), *rest)


def test_answer_of_a_stranger_or_a_second_one_is_refused() -> None:
    asked = Asked()
    mine, *rest = asked.answers
    for name in (PartnerId("stranger"), ASKER):
        with refused(ScoreRefusal.ANSWER, "nobody who was asked"):
            asked.combine(*asked.answers, replace(mine, member=name))
    with refused(ScoreRefusal.ANSWER, "a second one"):
        asked.combine(mine, mine, *rest)


@pytest.mark.parametrize("size", [0, 184, 191, 200])
def test_answer_of_another_size_is_refused(size: int) -> None:
    asked = Asked()
    mine, *rest = asked.answers
    with refused(ScoreRefusal.ANSWER, f"answer of {ME}: {size} bytes"):
        asked.combine(replace(mine, words=bytes(size)), *rest)


@pytest.mark.parametrize(
    ("column", "amount", "text"),
    [
        (-1, 1, "sentinel"),
        (-1, -1, "sentinel"),
        (0, 1 << 50, "bounds"),
        (0, -(1 << 50), "bounds"),
        (1, 4, "bounds"),
        (2, 1, "bounds"),
        (-2, 4, "bounds"),
        (-2, -3, "bounds"),
        (1, -2, "bounds"),
        (1, -(1 << 28), "bounds"),
        (0, -(1 << 63), "bounds"),
    ],
)
def test_sum_that_no_honest_partners_make_is_refused(
    column: int, amount: int, text: str
) -> None:
    asked = Asked()
    _, *rest = asked.answers
    words = HOUSE.encode(holdings()[ME])
    words.view(np.int64)[1, column] += amount
    lie = answer(HOUSE.open(asked.request, ME), words, HOUSE.keys[ME])
    with refused(ScoreRefusal.ANSWER, text):
        asked.combine(lie, *rest)


def test_count_that_overflows_the_bound_of_its_logits_is_refused() -> None:
    # -(2**27 + 100) holders: times the limit this wraps around to nearly 2**63.
    asked = Asked()
    _, *rest = asked.answers
    words = HOUSE.encode(holdings()[ME])
    words.view(np.int64)[1, 1] -= (1 << 27) + 100
    words.view(np.int64)[1, 0] += 1 << 60
    lie = answer(HOUSE.open(asked.request, ME), words, HOUSE.keys[ME])
    with refused(ScoreRefusal.ANSWER, "bounds"):
        asked.combine(lie, *rest)


def test_refusal_is_believed_only_of_its_signer_and_for_this_request() -> None:
    context = Asked().secrets.context
    refusal = refuse(context, ScoreRefusal.QUOTA, HOUSE.keys[ME])
    asker = HOUSE.keys[ASKER]
    assert verify_refusal(refusal, context, asker) is ScoreRefusal.QUOTA
    forged = [
        replace(refusal, member=OTHER),
        replace(refusal, member=ASKER),
        replace(refusal, code="S05"),
        replace(refusal, code="S99"),
        replace(refusal, signature=bytes(64)),
    ]
    for one in forged:
        with refused(ScoreRefusal.ANSWER, "refusal in the name"):
            verify_refusal(one, context, asker)
    with refused(ScoreRefusal.ANSWER, "refusal in the name"):
        verify_refusal(refusal, digest("another request"), asker)


def test_coordinator_key_signs_no_partners_answer() -> None:
    asked = Asked()
    mine, *rest = asked.answers
    body = bytes.fromhex(mine.context) + mine.words
    forged = replace(mine, signature=COORDINATOR.sign(Label.SCORE_ANSWER, body))
    with refused(ScoreRefusal.ANSWER, f"answer of {ME}: its signature"):
        asked.combine(forged, *rest)


def test_receipts_digest_depends_on_every_bit_and_on_the_order() -> None:
    request, _ = HOUSE.seal(ASKER, [receipt_of(0), receipt_of(1)])
    data = HOUSE.open(request, ME).receipts.data
    seen = {receipts_digest(data)}
    seen |= {receipts_digest(flipped(data, place)) for place in range(len(data))}
    seen.add(receipts_digest(data[RECEIPT_BYTES:] + data[:RECEIPT_BYTES]))
    assert len(seen) == len(data) + 2


def test_inquiry_names_are_those_of_the_message() -> None:
    request, secrets = HOUSE.seal(ASKER)
    assert isinstance(secrets.inquiry, Inquiry)
    assert parse_inquiry(request.inquiry) == secrets.inquiry
