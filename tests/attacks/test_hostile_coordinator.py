"""A coordinator that lies: what an honest node answers, and that nothing left it.

Each refusal names its code; no word left, nothing was charged, on a real database.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consortium.crypto.keys import IdentityKey, Secret
from consortium.documents import document_of, parse_document
from consortium.errors import DigestMismatchError
from consortium.ids import Digest, PartnerId, digest_of
from consortium.manifest import Manifest, manifest_bytes
from consortium.messages import ManifestBundle, PlanAccepted, SumRequest
from consortium.plan import ReleaseKind
from consortium.secagg.context import SumInputs
from consortium.secagg.joins import sign_acceptance, sign_join
from coordinator.plans import PlanContext, parse_plan
from models.run import ClosedSum
from partner_node.keystore import read_bundle
from tests.attacks.hostile import (
    ALL,
    BANK,
    BANK_B,
    SHOP,
    SHOP_D,
    SHORT,
    Hostile,
    closed_sum,
)
from tests.simulator import SCHEMA, Consortium

WRONG = Digest("0" * 64)


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(Consortium(plan=SHORT), tmp_path)


# --- split views ------------------------------------------------------------------------------


def test_nodes_that_were_shown_different_rosters_send_nothing(hostile: Hostile) -> None:
    whole, part = hostile.due(), hostile.due((BANK, BANK_B, SHOP))
    joins = {name: hostile.propose(name, whole[0]) for name in (BANK, SHOP_D)}
    joins |= {name: hostile.propose(name, part[0]) for name in (BANK_B, SHOP)}
    for asked, name in ((whole, BANK), (whole, SHOP_D), (part, BANK_B), (part, SHOP)):
        shown = [joins[one] for one in asked[0].roster]
        with hostile.refused(name, "R15"):
            hostile.ask(name, asked, shown)


def test_node_that_joined_one_roster_is_not_taken_to_another(hostile: Hostile) -> None:
    whole, part = hostile.due(), hostile.due((BANK, BANK_B, SHOP))
    shown = [hostile.propose(name, part[0]) for name in (BANK_B, SHOP)]
    own = hostile.propose(BANK, whole[0])
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, part, [own, *shown])
    hostile.restart(BANK)
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, part, [own, *shown])


def test_different_requests_of_one_attempt_are_never_summed(hostile: Hostile) -> None:
    """Only a node that is itself behind could take up a second request; its JOIN tells."""
    hostile.close()
    asked = hostile.due()
    joins = hostile.joins(asked[0])
    forged = replace(asked[0], head=WRONG)
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, (forged, asked[1]), joins)


# --- JOINs that are not the members' ----------------------------------------------------------


def test_substituted_one_time_key_is_refused(hostile: Hostile) -> None:
    asked = hostile.due()
    joins = hostile.joins(asked[0])
    key = IdentityKey.from_secret(Secret(b"h" * 32))
    swapped = replace(joins[1], ephemeral=b"\x09" + bytes(31))
    for forged in (swapped, sign_join(swapped, key)):
        hostile.restart(BANK)
        with hostile.refused(BANK, "R14"):
            hostile.ask(BANK, asked, [joins[0], forged, *joins[2:]])


def test_own_join_that_is_another_is_refused_though_it_is_signed(hostile: Hostile) -> None:
    """As after a stolen identity key: a node knows what it sent itself."""
    asked = hostile.due()
    joins = hostile.joins(asked[0])
    own = hostile.forged(joins[0], ephemeral=b"\x09" + bytes(31))
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, asked, [own, *joins[1:]])


def test_joins_of_an_earlier_attempt_are_worth_nothing_later(hostile: Hostile) -> None:
    first = hostile.due()
    old = hostile.joins(first[0])
    again = replace(first[0], attempt=2), first[1]
    own = hostile.propose(BANK, again[0])
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, again, [own, *old[1:]])
    honest = [own, *[hostile.propose(name, again[0]) for name in ALL[1:]]]
    with hostile.refused(BANK, "message out of order"):  # what failed once is over
        hostile.ask(BANK, again, honest)


def test_joins_of_an_earlier_attempt_are_refused_after_a_restart_too(
    hostile: Hostile,
) -> None:
    first = hostile.due()
    old = hostile.joins(first[0])
    again = replace(first[0], attempt=2), first[1]
    own = hostile.propose(BANK, again[0])
    hostile.restart(BANK)
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, again, [own, *old[1:]])


def test_second_join_for_one_attempt_is_refused_even_after_a_restart(hostile: Hostile) -> None:
    request, _ = hostile.due()
    hostile.propose(BANK, request)
    other, _ = hostile.due((BANK, BANK_B, SHOP))
    for again in (request, other):
        with hostile.refused(BANK, "R06"):
            hostile.propose(BANK, again)
    hostile.restart(BANK)
    with hostile.refused(BANK, "R06"):
        hostile.propose(BANK, other)


def test_join_shown_twice_in_place_of_a_members_is_refused(hostile: Hostile) -> None:
    asked = hostile.due()
    joins = hostile.joins(asked[0])
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, asked, [joins[0], joins[1], joins[1], joins[3]])


def test_same_upload_is_not_given_twice(hostile: Hostile) -> None:
    asked = hostile.due()
    joins = hostile.joins(asked[0])
    hostile.ask(BANK, asked, joins)
    with hostile.refused(BANK, "message out of order"):
        hostile.ask(BANK, asked, joins)
    hostile.restart(BANK)
    with hostile.refused(BANK, "R06"):
        hostile.ask(BANK, asked, joins)


@pytest.mark.parametrize("link", ["made up", "repeated", "out of the chain"])
def test_link_that_does_not_continue_the_chain_is_refused(hostile: Hostile, link: str) -> None:
    """The member helps: it signs what the coordinator wants, and so steers nothing."""
    earlier = {one.member: one for one in hostile.joins(hostile.due()[0])}
    again = replace(hostile.due()[0], attempt=2), hostile.due()[1]
    if link == "repeated":
        hostile.ask(BANK, hostile.due(), [earlier[name] for name in ALL])
    joins = hostile.joins(again[0])
    old = earlier[BANK_B]
    changes: dict[str, dict[str, object]] = {
        "made up": {"link": WRONG},
        "repeated": {"link": old.link, "count": old.count},
        "out of the chain": {"count": 10_000},
    }
    shown = [joins[0], hostile.forged(joins[1], **changes[link]), *joins[2:]]
    before = hostile.charged(BANK)
    with hostile.refused(BANK, "R16"):
        hostile.ask(BANK, again, shown)
    assert hostile.charged(BANK) == before


def test_chain_that_the_member_did_not_commit_to_is_refused(hostile: Hostile) -> None:
    asked = hostile.due()
    accepted = parse_document(PlanAccepted, hostile.acceptances[1])
    key = IdentityKey.from_secret(Secret(b"h" * 32))
    forged = sign_acceptance(replace(accepted, chain_head=WRONG), key)
    shown = [
        document_of(forged) if i == 1 else one for i, one in enumerate(hostile.acceptances)
    ]
    with hostile.refused(BANK, "bad signature"):
        hostile.propose(BANK, asked[0], acceptances=shown)
    joins = hostile.joins(asked[0])
    hostile.restart(BANK)
    with hostile.refused(BANK, "bad signature"):
        hostile.ask(BANK, asked, joins, shown)
    hostile.restart(BANK)
    with hostile.refused(BANK, "R16"):
        hostile.ask(BANK, asked, joins, [])


def test_member_that_commits_after_it_has_seen_the_others_coin_gets_no_coin(
    hostile: Hostile,
) -> None:
    """A seed chosen when rctx is known chooses its noise: no link is shown before (3.5.2)."""
    asked = hostile.due()
    for late in range(1, len(ALL)):
        shown = [one for i, one in enumerate(hostile.acceptances) if i != late]
        with hostile.refused(BANK, "R16"):
            hostile.propose(BANK, asked[0], acceptances=shown)
        hostile.restart(BANK)
    assert hostile.propose(BANK, asked[0]).count == 1


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_one_time_key_of_low_order_is_refused(hostile: Hostile, point: bytes) -> None:
    asked = hostile.due()
    joins = hostile.joins(asked[0])
    forged = hostile.forged(joins[2], ephemeral=point)
    with hostile.refused(BANK, "R17"):
        hostile.ask(BANK, asked, [*joins[:2], forged, joins[3]])


# --- who is alive -----------------------------------------------------------------------------


def test_member_that_is_gone_cannot_be_claimed_alive(hostile: Hostile) -> None:
    asked = hostile.due()
    joins = [hostile.propose(name, asked[0]) for name in ALL[:3]]
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, asked, joins)
    made_up = sign_join(
        replace(joins[2], member=SHOP_D), IdentityKey.from_secret(Secret(b"h" * 32))
    )
    with hostile.refused(BANK_B, "R14"):
        hostile.ask(BANK_B, asked, [*joins, made_up])


def test_member_that_is_alive_and_claimed_gone_is_under_noise_in_the_difference(
    tmp_path: Path,
) -> None:
    """Attempt 1 with and attempt 2 without it: the difference is no bare sum of its rows.

    With four attempts' noise left in it (4·V₁ + 3·V₂); one false alarm in 1e7 runs.
    """
    fine = ", ".join(f'"{number / 200:.3f}"' for number in range(1, 200))
    schema = SCHEMA.replace('edges = ["0.25", "0.5", "0.75"]', f"edges = [{fine}]")
    hostile = Hostile(Consortium(plan=SHORT, schema=schema), tmp_path)
    first = hostile.due()
    whole = hostile.carry(first)
    once = hostile.charged(BANK)
    hostile.view.on_missing(first[0], {SHOP_D: "no answer"}, charged=True)
    again = hostile.due(ALL[:3])
    rest = hostile.carry(again)
    assert hostile.charged(BANK) == 2 * once > 0
    for name in rest:
        assert not np.intersect1d(whole[name][0], rest[name][0]).size, "masks are fresh"

    session = hostile.house.session(SHOP_D)
    sums = session._open_sums(hostile.house.plan)
    exact = sums.compute(*first, seed=Secret(bytes(32)), context=WRONG).values
    difference = closed_sum(first[0], whole).total - closed_sum(again[0], rest).total
    noise = (difference - exact).astype(float)
    variance = 4 * int(first[0].variance) + 3 * int(again[0].variance)
    spread = float(np.mean(noise**2)) / variance
    assert noise.size > 200
    assert abs(spread - 1) < 5.4 * np.sqrt(2 / noise.size)
    assert int(again[0].variance) >= int(first[0].variance)


def test_retries_end_after_three_attempts(hostile: Hostile) -> None:
    asked = hostile.due()
    for attempt in (1, 2, 3):
        hostile.carry((replace(asked[0], attempt=attempt), asked[1]))
    charged = hostile.charged(BANK)
    with hostile.refused(BANK, "R13"):
        hostile.propose(BANK, replace(asked[0], attempt=4))
    assert hostile.charged(BANK) == charged


def test_attempts_past_the_reserve_are_refused(hostile: Hostile) -> None:
    """Each sum has three attempts, the run has not: it has rounds and spare ones, here 5."""
    for attempts in ((2, 3), (2,)):
        asked = hostile.due()
        for attempt in attempts:
            hostile.carry((replace(asked[0], attempt=attempt), asked[1]))
        if len(attempts) > 1:
            hostile.close()
    hostile.carry(asked)
    past = replace(asked[0], attempt=3), asked[1]
    joins = hostile.joins(past[0])
    with hostile.refused(BANK, "R12"):
        hostile.ask(BANK, past, joins)


# --- requests that do not follow from plan and closed sums ------------------------------------

REQUESTS: dict[str, tuple[dict[str, object], str]] = {
    "dimension": ({"dimension": 9}, "R11"),
    "scale_bits": ({"scale_bits": 40}, "R11"),
    "less noise": ({"variance": "1"}, "R10"),
    "more noise": ({"variance": str(1 << 61)}, "R10"),
    "roster below the floor": ({"roster": (BANK, BANK_B)}, "R04"),
    "roster with a stranger": ({"roster": (BANK, BANK_B, SHOP, PartnerId("zz"))}, "R02"),
    "roster with the coordinator": (
        {"roster": (BANK, BANK_B, PartnerId("coordinator"), SHOP)},
        "R02",
    ),
    "roster without the node": ({"roster": (BANK_B, SHOP, SHOP_D)}, "R03"),
    "roster with a member twice": ({"roster": (BANK, BANK, BANK_B, SHOP)}, "R15"),
    "roster out of order": ({"roster": (SHOP, BANK_B, BANK)}, "R15"),
    "another model": ({"inputs": WRONG}, "R07"),
    "other closed sums": ({"head": WRONG}, "R09"),
    "a later round": ({"round": 2}, "R09"),
    "another kind": ({"kind": ReleaseKind.RECALIBRATION}, "R09"),
    "another plan": ({"plan": WRONG}, "R05"),
    "no attempt": ({"attempt": 0}, "R13"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_request_that_does_not_follow_is_not_joined(hostile: Hostile, name: str) -> None:
    changes, code = REQUESTS[name]
    request, _ = hostile.due()
    with hostile.refused(BANK, code):
        hostile.propose(BANK, replace(request, **changes))  # type: ignore[arg-type]
    assert hostile.house.nodes[BANK].store.joined(request) is None


def test_larger_rosters_noise_is_not_enough_for_a_smaller_one(tmp_path: Path) -> None:
    """Of three assume one honest, of four two: one alone must add what two did."""
    house = Consortium()
    policy = replace(house.manifest.policy, max_partners_per_person=1)
    house.manifest = replace(house.manifest, policy=policy)
    plan = SHORT.replace("[plan]", '[plan]\nhonest_fraction = "0.3"')
    context = PlanContext(house.run, house.manifest, house.schema, digest_of(b"code"))
    house.plan = parse_plan(plan, context)
    hostile = Hostile(house, tmp_path)
    four, three = hostile.due()[0], hostile.due(ALL[:3])[0]
    assert int(three.variance) > int(four.variance)
    with hostile.refused(BANK, "R10"):
        hostile.propose(BANK, replace(three, variance=four.variance))


def test_model_that_does_not_follow_from_the_closed_sums_is_refused(hostile: Hostile) -> None:
    hostile.close()
    request, inputs = hostile.due()
    lure = SumInputs(arrays=(inputs.arrays[0] + 1e-9,))
    with hostile.refused(BANK, "R07"):
        hostile.propose(BANK, replace(request, inputs=lure.digest))


def test_different_models_to_different_nodes_are_refused(hostile: Hostile) -> None:
    """All joined the honest request; one is sent other weights with it."""
    request, inputs = hostile.due()
    joins = hostile.joins(request)
    lure = SumInputs(arrays=(inputs.arrays[0] + 1.0,))
    with hostile.refused(BANK, "R07"):
        hostile.ask(BANK, (request, lure), joins)
    named = replace(request, inputs=lure.digest)
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, (named, lure), joins)


def test_forged_closed_sum_shuts_its_reader_out_of_the_run(hostile: Hostile) -> None:
    """Who was lied to follows the lie and meets nobody there."""
    asked = hostile.due()
    honest = closed_sum(asked[0], hostile.carry(asked))
    forged = replace(honest, total=honest.total + np.int64(1 << 40))
    lied = _after(hostile, forged)
    hostile.sums.append(honest)
    hostile.view.on_sum(honest)
    truth = hostile.due()
    own = hostile.propose(BANK, lied[0], [forged])
    others = [hostile.propose(name, truth[0]) for name in ALL[1:]]
    with hostile.refused(BANK, "R15"):
        hostile.ask(BANK, lied, [own, *others])
    with hostile.refused(BANK_B, "R15"):
        hostile.ask(BANK_B, truth, [own, *others])
    with hostile.refused(BANK, "R09"):
        hostile.propose(BANK, replace(truth[0], attempt=2), [honest])


@pytest.mark.parametrize("change", ["longer", "another run", "skipped"])
def test_closed_sum_that_is_not_the_due_one_moves_nothing(
    hostile: Hostile, change: str
) -> None:
    asked = hostile.due()
    honest = closed_sum(asked[0], hostile.carry(asked))
    hostile.view.on_sum(honest)
    request, _ = hostile.due()
    forged = {
        "longer": replace(honest, total=np.zeros(1 << 16, dtype=np.int64)),
        "another run": replace(honest, request=replace(honest.request, run="cd" * 16)),
        "skipped": replace(honest, request=replace(honest.request, head=WRONG)),
    }[change]
    code = {"longer": "local data refused", "another run": "message out of order"}.get(
        change, "R09"
    )
    with hostile.refused(BANK, code):
        hostile.propose(BANK, request, [forged])
    hostile.propose(BANK, request, [honest])


def _after(hostile: Hostile, closed: ClosedSum) -> tuple[SumRequest, SumInputs]:
    """What would be asked after a sum, by the same machine."""
    view = type(hostile.view)(hostile.house.plan, hostile.house.schema)
    view.on_sum(closed)
    return view.request(ALL)


# --- the plan ---------------------------------------------------------------------------------

PLANS: dict[str, tuple[dict[str, object], str]] = {
    "a noise mode without noise": ({"noise_mode": "none"}, "R10"),
    "more honest partners assumed": ({"honest_fraction": "1"}, "R10"),
    "a person at fewer partners": ({"max_partners_per_person": 1}, "R10"),
    "a larger delta": ({"delta": "0.1"}, "R10"),
    "a lower floor": ({"min_partners": 2}, "R04"),
    "more epsilon": ({"epsilon": "8.1"}, "R12"),
    "another manifest": ({"manifest": WRONG}, "R01"),
}


@pytest.mark.parametrize("name", PLANS)
def test_plan_that_is_looser_than_the_manifest_reserves_nothing(
    hostile: Hostile, name: str
) -> None:
    changes, code = PLANS[name]
    run = {"run": "cd" * 16}
    plan = replace(hostile.house.plan, **run, **changes)  # type: ignore[arg-type]
    with hostile.refused(BANK, code):
        hostile.offer(BANK, plan)
    assert hostile.house.nodes[BANK].store.commitment(plan.run) is None


def test_block_with_fewer_holders_a_person_than_the_manifests_is_refused(
    hostile: Hostile,
) -> None:
    plan = hostile.house.plan
    blocks = (replace(plan.blocks[0], holders_per_person=1), *plan.blocks[1:])
    with hostile.refused(BANK, "R10"):
        hostile.offer(BANK, replace(plan, run="cd" * 16, blocks=blocks))  # type: ignore[arg-type]


# --- the manifest -----------------------------------------------------------------------------


def _forged_manifest(hostile: Hostile) -> Manifest:
    """The pinned manifest with a key of the coordinator's in a member's place."""
    manifest = hostile.house.manifest
    key = IdentityKey.from_secret(Secret(b"h" * 32)).public.hex()
    members = tuple(
        replace(one, identity=key) if one.id == BANK_B else one for one in manifest.members
    )
    return replace(manifest, members=members)


def test_manifest_with_a_substituted_key_is_not_the_one_that_was_trusted(
    hostile: Hostile,
) -> None:
    forged = _forged_manifest(hostile)
    bundle = ManifestBundle(
        body=manifest_bytes(forged),
        signatures=hostile.house.signatures(),
        schema=b"{}",
    )
    with pytest.raises(DigestMismatchError, match="manifest"):
        read_bundle(bundle, hostile.house.manifest.digest)


def test_run_under_a_forged_manifest_is_refused_by_who_pinned_the_true_one(
    hostile: Hostile,
) -> None:
    plan = replace(hostile.house.plan, run="cd" * 16, manifest=_forged_manifest(hostile).digest)  # type: ignore[arg-type]
    with hostile.refused(BANK, "R01"):
        hostile.offer(BANK, plan)


def test_run_that_began_under_an_older_manifest_is_over(hostile: Hostile) -> None:
    request, _ = hostile.due()
    hostile.house.manifest = replace(hostile.house.manifest, version=2)
    hostile.restart(BANK)
    with hostile.refused(BANK, "R01"):
        hostile.propose(BANK, request)


def test_roster_with_a_member_that_was_revoked_is_refused(tmp_path: Path) -> None:
    house = Consortium(plan=SHORT)
    manifest = house.manifest
    members = tuple(
        replace(one, active=one.id != SHOP_D) if one.id in ALL else one
        for one in manifest.members
    )
    house.manifest = replace(manifest, members=members)
    blocks = tuple(
        replace(one, holders=tuple(name for name in one.holders if name != SHOP_D))
        for one in house.plan.blocks
    )
    house.plan = replace(house.plan, manifest=house.manifest.digest, blocks=blocks)
    house.absent = {SHOP_D}
    del house.nodes[SHOP_D]
    hostile = Hostile(house, tmp_path)
    request, _ = hostile.due(ALL[:3])
    with hostile.refused(BANK, "R02"):
        hostile.propose(BANK, replace(request, roster=ALL))
