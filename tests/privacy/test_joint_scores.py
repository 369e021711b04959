"""What each party of a joint score sees: coordinator, coalition, clock (protocol 7.4 to 7.6).

The chi-square bounds let one in a million honest runs fail; keys are fixed, so a run that
passes once passes always.
"""

import sys
from collections.abc import Callable, Iterator
from types import FrameType

import numpy as np
import pytest
from numpy.typing import NDArray

from consortium.crypto.pairwise import apply_masks
from consortium.ids import PartnerId
from consortium.inquiries import ScoreAnswer
from consortium.scoring.layout import Words, encode_holding
from consortium.scoring.pairs import mask_key
from consortium.scoring.partial import answer
from tests.scoring_house import FAMILIES, LAYOUT, Holding, House, nobody, receipt_of, request_id

HOUSE = House(5)
ASKER, COLLUDER, SECOND, FIRST_HONEST, LAST_HONEST = HOUSE.ids
BATCH = 256
REQUESTS = 12
CHI_255 = 378.0
"""Of 255 degrees of freedom, exceeded with probability below one in a million."""


def everybody(persons: int) -> Holding:
    """All held, with figures that are anything but uniform."""
    held = np.ones(persons, dtype=np.bool_)
    return {name: np.full(persons, 7 << 20) for name in FAMILIES}, held


def words_of(given: ScoreAnswer) -> Words:
    return np.frombuffer(given.words, dtype="<u8").astype(np.uint64)


def chi_square(words: NDArray[np.uint64]) -> float:
    counts = np.bincount(words.view(np.uint8).reshape(-1), minlength=256)
    mean = counts.sum() / 256
    return float(((counts - mean) ** 2 / mean).sum())


def requests(holdings: dict[PartnerId, Holding]) -> Iterator[list[ScoreAnswer]]:
    receipts = [receipt_of(number) for number in range(BATCH)]
    for number in range(REQUESTS):
        request, _ = HOUSE.seal(ASKER, receipts, request=request_id(number))
        yield HOUSE.answers(request, ASKER, holdings)


@pytest.fixture(scope="module")
def relayed() -> list[list[ScoreAnswer]]:
    """All that the coordinator sees of answers; the last partner holds nobody."""
    holdings = dict.fromkeys(HOUSE.ids, everybody(BATCH))
    holdings[LAST_HONEST] = nobody(BATCH)
    return list(requests(holdings))


def test_words_that_the_coordinator_relays_are_uniform(
    relayed: list[list[ScoreAnswer]],
) -> None:
    for place in range(4):
        seen = np.concatenate([words_of(given[place]) for given in relayed])
        assert chi_square(seen) < CHI_255
    assert chi_square(HOUSE.encode(everybody(BATCH)).reshape(-1)) > 100 * CHI_255


def test_sum_that_the_coordinator_can_make_is_uniform_too(
    relayed: list[list[ScoreAnswer]],
) -> None:
    sums = [sum(map(words_of, given), np.zeros(1, dtype=np.uint64)) for given in relayed]
    assert chi_square(np.concatenate(sums)) < CHI_255


def test_every_difference_of_two_relayed_answers_is_uniform(
    relayed: list[list[ScoreAnswer]],
) -> None:
    # Same partner, same persons, other requests: a mask used twice would leave zeros.
    first, *others = [words_of(given[0]) for given in relayed]
    assert chi_square(np.concatenate([first - other for other in others])) < CHI_255
    mine, other = words_of(relayed[0][0]), words_of(relayed[0][1])
    assert not np.any(mine - other == 0)


def test_masks_of_a_request_never_repeat_within_or_between_answers(
    relayed: list[list[ScoreAnswer]],
) -> None:
    all_words = np.concatenate([words_of(one) for given in relayed for one in given])
    assert len(np.unique(all_words)) == len(all_words)


def test_asker_with_all_but_two_responders_learns_their_sum_only() -> None:
    holdings = {FIRST_HONEST: everybody(BATCH), LAST_HONEST: nobody(BATCH)}
    honest = [HOUSE.encode(holdings[name]).reshape(-1) for name in holdings]
    parts = []
    for number in range(REQUESTS):
        receipts = [receipt_of(person) for person in range(BATCH)]
        request, secrets = HOUSE.seal(ASKER, receipts, request=request_id(number))
        stripped = []
        for name, holding in holdings.items():
            opened = HOUSE.open(request, name)
            words = words_of(answer(opened, HOUSE.encode(holding), HOUSE.keys[name]))
            # What the coalition knows of this partner's masks, taken out again:
            known = {ASKER: secrets.masks[name]}
            for one in (COLLUDER, SECOND):
                known[one] = mask_key(HOUSE.keys[one].peer(name), secrets.context)
            taken = np.zeros_like(words)
            apply_masks(taken, name, known)
            stripped.append(words - taken)
        assert np.array_equal(stripped[0] + stripped[1], honest[0] + honest[1])
        parts += stripped
    for which in (0, 1):
        assert chi_square(np.concatenate(parts[which::2])) < CHI_255


def test_asker_with_all_but_one_responder_learns_that_ones_part() -> None:
    # The limit that protocol 1.1 states: nothing hides among nobody.
    request, secrets = HOUSE.seal(ASKER)
    words = HOUSE.encode(everybody(1))
    given = words_of(answer(HOUSE.open(request, LAST_HONEST), words, HOUSE.keys[LAST_HONEST]))
    known = {ASKER: secrets.masks[LAST_HONEST]}
    for one in (COLLUDER, SECOND, FIRST_HONEST):
        known[one] = mask_key(HOUSE.keys[one].peer(LAST_HONEST), secrets.context)
    taken = np.zeros_like(given)
    apply_masks(taken, LAST_HONEST, known)
    assert np.array_equal(given - taken, words.reshape(-1))


def trace_of(work: Callable[[], object]) -> list[tuple[str, int]]:
    """Every line of the product that ``work`` runs through, in order."""
    lines: list[tuple[str, int]] = []

    def local(frame: FrameType, event: str, _: object) -> object:
        if event == "line" and "/consortium/" in frame.f_code.co_filename:
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        return local

    before = sys.gettrace()
    sys.settrace(local)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("persons", [1, 5])
def test_holder_and_stranger_run_through_the_same_lines_to_the_same_size(persons: int) -> None:
    receipts = [receipt_of(number) for number in range(persons)]
    request, _ = HOUSE.seal(ASKER, receipts)
    opened = HOUSE.open(request, FIRST_HONEST)
    keys = HOUSE.keys[FIRST_HONEST]
    logits, _ = everybody(persons)
    sizes, traces = [], []
    answer(opened, HOUSE.encode(nobody(persons)), keys)  # everything is cached from here on
    for held in (np.ones(persons, dtype=np.bool_), np.zeros(persons, dtype=np.bool_)):

        def work(held: NDArray[np.bool_] = held) -> None:
            allowed = opened.receipts.allowed(len(FAMILIES))
            words = encode_holding(LAYOUT, logits, held, allowed=allowed)
            given = answer(opened, words, keys)
            sizes.append((len(given.words), len(given.signature)))

        traces.append(trace_of(work))
    assert traces[0] == traces[1]
    assert len(traces[0]) > 50
    assert sizes[0] == sizes[1] == (persons * LAYOUT.words * 8, 64)


def test_token_receipt_and_evidence_are_nowhere_in_what_travels() -> None:
    receipt = receipt_of(0)
    request, secrets = HOUSE.seal(ASKER, [receipt])
    given = HOUSE.answers(request, ASKER, dict.fromkeys(HOUSE.ids, everybody(1)))
    wire = [request.inquiry, request.sealed, *(wrap.key for wrap in request.wraps)]
    wire += [one.words for one in given]
    for private in (receipt.token, receipt.evidence, receipt.evidence[:8], receipt.token[:8]):
        for sent in wire:
            assert private not in sent
            assert private.hex().encode() not in sent
    shown = repr((receipt, secrets, HOUSE.open(request, FIRST_HONEST)))
    assert receipt.token.hex() not in shown
    assert repr(receipt.token)[2:-1] not in shown
