"""Sums are exact for anybody's holdings; the rules that need memory hold over any history."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.documents import document_of, parse_document
from consortium.errors import ScoreRefusalError
from consortium.ids import Digest, PartnerId, PersonToken, RequestId
from consortium.inquiries import Inquiry, Purpose
from consortium.manifest import Disclosure
from consortium.scoring.clear import inquiry_bytes, parse_inquiry
from consortium.scoring.combine import joint_eta
from consortium.scoring.consent import Method, Receipt, check, pack, unpack
from consortium.scoring.guard import DAY_MS, MEMORY_MS, RETRY_MS, Asked, Seen, decide
from consortium.scoring.head import ALPHA_LIMIT, BETA_LIMIT, Head
from consortium.scoring.layout import LOGIT_LIMIT, JointSums, Layout, decode, encode_holding
from consortium.scoring.quota import Bucket, DayCount, burst_of, full, take, take_day
from consortium.scoring.scorecard import calibrated_units
from tests.scoring_house import FAMILIES, NOW, Holding, House, receipt_of
from tests.secagg_house import digest

UNITS = st.integers(-(2**62), 2**62)


def random_holding(rng: Generator, families: tuple[str, ...], persons: int) -> Holding:
    own = [name for name in families if rng.random() < 0.5]
    logits = {name: rng.integers(-(2**37), 2**37, persons) for name in own}
    return logits, rng.random(persons) < rng.random()


def expected_of(
    holdings: list[Holding], families: tuple[str, ...], person: int
) -> tuple[list[int], list[int], int]:
    """The sums by the protocol's words, person by person and in plain integers."""
    logits, counts, partners = [0] * len(families), [0] * len(families), 0
    for given_logits, held in holdings:
        if not held[person]:
            continue
        partners += bool(given_logits)
        for place, name in enumerate(families):
            if name in given_logits:
                value = int(given_logits[name][person])
                logits[place] += max(-LOGIT_LIMIT, min(LOGIT_LIMIT, value))
                counts[place] += 1
    return logits, counts, partners


def check_sums(sums: JointSums, holdings: list[Holding], families: tuple[str, ...]) -> None:
    for person in range(len(sums.partners)):
        logits, counts, partners = expected_of(holdings, families, person)
        assert sums.logits[person].tolist() == logits
        assert sums.counts[person].tolist() == counts
        assert sums.partners[person] == partners


@pytest.mark.parametrize(
    ("responders", "persons"),
    [(2, 1), (2, 256), (3, 4), (4, 256), (5, 2), (6, 3), (9, 1), (19, 3), (50, 2), (50, 17)],
)
def test_whole_request_to_n_responders_gives_the_integer_sums(
    responders: int, persons: int, rng: Generator
) -> None:
    house = House(responders + 1)
    holdings = {name: random_holding(rng, FAMILIES, persons) for name in house.ids}
    asker = house.ids[int(rng.integers(responders + 1))]
    sums = house.ask(asker, [receipt_of(number) for number in range(persons)], holdings)
    check_sums(sums, list(holdings.values()), FAMILIES)


@settings(max_examples=60)
@given(
    families=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True),
    contributors=st.integers(1, 51),
    persons=st.integers(1, 256),
    seed=st.integers(0, 2**32),
)
def test_decoded_sum_is_the_sum_of_what_was_encoded(
    families: list[str], contributors: int, persons: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)  # noqa: TID251 - drawn by hypothesis
    names = tuple(families)
    holdings = [random_holding(rng, names, persons) for _ in range(contributors)]
    layout = Layout(names)
    total = np.zeros((persons, layout.words), dtype=np.uint64)
    for holding in holdings:
        total += encode_holding(layout, *holding)
    check_sums(decode(layout, total, contributors), holdings, names)


@settings(max_examples=60)
@given(
    logits=st.dictionaries(st.sampled_from(FAMILIES), UNITS),
    held=st.booleans(),
    bits=st.integers(0, 31),
)
def test_total_is_the_sum_over_what_the_receipt_allows(
    *, logits: dict[str, int], held: bool, bits: int
) -> None:
    layout = Layout(FAMILIES, Disclosure.TOTAL_ONLY)
    allowed = unpack(pack([receipt_of(0, families=bits)]), 1).allowed(len(FAMILIES))
    arrays = {name: np.array([value]) for name, value in logits.items()}
    words = encode_holding(layout, arrays, np.array([held]), allowed=allowed)
    part = [
        max(-LOGIT_LIMIT, min(LOGIT_LIMIT, value))
        for name, value in logits.items()
        if held and bits >> FAMILIES.index(name) & 1
    ]
    sums = decode(layout, words, 1)
    assert sums.logits[0, 0] == max(-LOGIT_LIMIT, min(LOGIT_LIMIT, sum(part)))
    assert sums.counts[0, 0] == sums.partners[0] == bool(part)


RECEIPTS = st.builds(
    Receipt,
    token=st.binary(min_size=16, max_size=16).map(PersonToken),
    epoch=st.integers(0, 2**16 - 1),
    purposes=st.frozensets(st.sampled_from(Purpose)),
    families=st.integers(0, 2**32 - 1),
    expires=st.integers(0, 2**64 - 1),
    evidence=st.binary(min_size=32, max_size=32),
    notice=st.integers(0, 2**16 - 1),
    method=st.sampled_from(Method),
)


@given(
    receipts=st.lists(RECEIPTS, min_size=1, max_size=5),
    purpose=st.sampled_from(Purpose),
    families=st.integers(1, 32),
    epoch=st.integers(0, 2**16 - 1),
    now=st.integers(0, 2**64),
)
def test_batch_passes_if_and_only_if_each_receipt_does(
    *, receipts: list[Receipt], purpose: Purpose, families: int, epoch: int, now: int
) -> None:
    fits = all(
        one.epoch == epoch
        and purpose in one.purposes
        and now < one.expires
        and 0 < one.families < 2**families
        for one in receipts
    )
    try:
        check(
            unpack(pack(receipts), len(receipts)),
            purpose=purpose,
            families=families,
            epoch=epoch,
            now=now,
        )
    except ScoreRefusalError:
        assert not fits
    else:
        assert fits


HEX32 = st.binary(min_size=16, max_size=16).map(bytes.hex)
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda data: Digest(data.hex()))
NAMES = st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True).map(PartnerId)
INQUIRIES = st.builds(
    Inquiry,
    request=HEX32.map(RequestId),
    requester=NAMES,
    ephemeral=st.binary(min_size=32, max_size=32),
    roster=st.lists(NAMES, max_size=8, unique=True).map(lambda names: tuple(sorted(names))),
    roster_version=st.integers(0, 2**53 - 1),
    model=DIGESTS,
    purpose=st.sampled_from(Purpose),
    persons=st.integers(1, 256),
    deadline=st.integers(0, 2**53 - 1),
    consents=DIGESTS,
    sealed=DIGESTS,
    retry_of=st.none() | HEX32.map(RequestId),
)


@given(INQUIRIES)
def test_clear_part_is_the_canonical_document_and_reads_back(inquiry: Inquiry) -> None:
    clear = inquiry_bytes(inquiry)
    assert clear == document_of(inquiry)
    assert parse_inquiry(clear) == inquiry == parse_document(Inquiry, clear)


@given(INQUIRIES, st.data())
def test_any_byte_changed_in_a_clear_part_is_another_inquiry_or_refused(
    inquiry: Inquiry, data: st.DataObject
) -> None:
    clear = inquiry_bytes(inquiry)
    place = data.draw(st.integers(0, len(clear) - 1))
    other = data.draw(st.integers(0, 255))
    altered = clear[:place] + bytes([other]) + clear[place + 1 :]
    try:
        found = parse_inquiry(altered)
    except ScoreRefusalError:
        return
    assert (found == inquiry) == (altered == clear)


SLOPES = st.integers(-BETA_LIMIT, BETA_LIMIT)
OFFSETS = st.integers(-ALPHA_LIMIT, ALPHA_LIMIT)


@given(st.data(), st.integers(1, 6), st.integers(1, 8))
def test_log_odds_are_those_of_unbounded_integers(
    data: st.DataObject, families: int, persons: int
) -> None:
    names = tuple("abcdef"[:families])
    counts = data.draw(_matrix(st.integers(0, 51), persons, families))
    most = [[count * LOGIT_LIMIT for count in row] for row in counts]
    logits = [[data.draw(st.integers(-one, one)) for one in row] for row in most]
    head = Head(
        families=names,
        base=data.draw(OFFSETS),
        alpha=tuple(data.draw(OFFSETS) for _ in range(3)),
        beta=tuple(tuple(row) for row in data.draw(_matrix(SLOPES, 3, families))),
    )
    sums = JointSums(
        columns=names,
        logits=np.array(logits),
        counts=np.array(counts),
        partners=np.array(counts).max(axis=1),
    )
    eta, strata = joint_eta(head, sums)
    for person in range(persons):
        covered = min(3, sum(count > 0 for count in counts[person]))
        expected = head.base if covered == 0 else head.alpha[covered - 1]
        for place in range(families):
            average = logits[person][place] // max(1, counts[person][place])
            slope = head.beta[covered - 1][place] if covered else 0
            expected += calibrated_units(0, slope, average)
        assert (int(eta[person]), int(strata[person])) == (expected, covered)


def _matrix(
    values: st.SearchStrategy[int], rows: int, columns: int
) -> st.SearchStrategy[list[list[int]]]:
    row = st.lists(values, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows)


STEPS = st.sampled_from(
    (0, 1, RETRY_MS - 1, RETRY_MS, RETRY_MS + 1, DAY_MS // 2, DAY_MS, 9 * DAY_MS)
)
ASKINGS = st.tuples(STEPS, st.sampled_from("ABCDE"), st.integers(0, 4))


@settings(max_examples=400)
@given(askings=st.lists(ASKINGS, max_size=25), compact=st.booleans())
def test_no_history_takes_answers_of_one_day_apart_but_by_its_one_retry(
    *, askings: list[tuple[int, str, int]], compact: bool
) -> None:
    answered: list[tuple[Seen, Asked]] = []
    at = 0
    for number, (step, roster, back) in enumerate(askings):
        at += step
        earlier = answered[-back][0].request if 0 < back <= len(answered) else None
        request = RequestId(f"{number:032x}")
        asked = Asked(request=request, roster=digest(roster), retry_of=earlier)
        history = [seen for seen, _ in answered]
        if compact:
            last = {seen.roster: seen for seen in history}
            history = sorted(last.values(), key=history.index)
        try:
            decide(history, asked, now_ms=at)
        except ScoreRefusalError:
            continue
        answered.append((Seen(request=request, roster=asked.roster, at_ms=at), asked))
    _check_answered(answered)


def _check_answered(answered: list[tuple[Seen, Asked]]) -> None:
    for end, (seen, _) in enumerate(answered):
        before = [one for one, _ in answered[: end + 1]]
        day = {one.roster for one in before if seen.at_ms - one.at_ms < DAY_MS}
        month = {one.roster for one in before if seen.at_ms - one.at_ms < MEMORY_MS}
        assert len(day) <= 2
        assert len(month) <= 3
    for (one, _), (other, asked) in pairwise(answered):
        if one.roster != other.roster and other.at_ms - one.at_ms < DAY_MS:
            assert asked.retry_of == one.request
            assert other.at_ms - one.at_ms <= RETRY_MS


@settings(max_examples=200)
@given(
    rate=st.integers(1, 300),
    takings=st.lists(st.tuples(st.integers(-500, 60_000), st.integers(1, 300)), max_size=30),
)
def test_no_stretch_of_time_takes_more_than_burst_and_rate_allow(
    rate: int, takings: list[tuple[int, int]]
) -> None:
    burst = burst_of(rate)
    bucket: Bucket = full(burst, now_ms=0)
    clock, latest = 0, 0
    granted: list[tuple[int, int]] = []
    for step, persons in takings:
        clock += step
        try:
            bucket = take(bucket, persons, rate=rate, burst=burst, now_ms=clock)
        except ScoreRefusalError:
            continue
        latest = max(latest, clock)
        granted.append((latest, persons))
    for start in range(len(granted)):
        taken = 0
        for at, persons in granted[start:]:
            taken += persons
            assert 1_000 * (taken - burst) <= rate * (at - granted[start][0])


@settings(max_examples=200)
@given(
    most=st.integers(0, 500),
    takings=st.lists(st.tuples(st.integers(-DAY_MS, DAY_MS), st.integers(1, 300)), max_size=30),
)
def test_no_day_takes_more_than_it_may(most: int, takings: list[tuple[int, int]]) -> None:
    count, clock, by_day = DayCount(0, 0), 0, dict[int, int]()
    for step, persons in takings:
        clock = max(0, clock + step)
        try:
            count = take_day(count, persons, most=most, now_ms=clock)
        except ScoreRefusalError:
            continue
        by_day[count.day] = by_day.get(count.day, 0) + persons
    assert all(used <= most for used in by_day.values())


def test_receipts_of_the_house_pass() -> None:
    receipts = unpack(pack([receipt_of(0)]), 1)
    check(receipts, purpose=Purpose.JOINT_SCORE, families=len(FAMILIES), epoch=3, now=NOW)
