"""The offline audit against logs that lie: each lie is found, and the finding says where."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from consortium.canonical import Label, canonical_json, hash_with
from consortium.crypto.keys import IdentityKey
from consortium.ids import Digest, PartnerId
from consortium.ledger.archive import pack, unpack
from consortium.ledger.claims import statement_digest
from consortium.ledger.entries import (
    AuditChallenge,
    AuditResult,
    Body,
    Entry,
    IdentityRevoked,
    Incident,
    ReleaseCandidate,
    ReleaseServed,
    ReleaseVote,
    ScoreBatch,
    StatementPublished,
    from_jcs,
    sign_entry,
)
from consortium.ledger.evidence import read_evidence
from consortium.ledger.findings import Check, Finding, Findings, Grade
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.note import Note, parse_note
from consortium.ledger.proof import LogProof
from consortium.ledger.run_bodies import (
    BudgetDebit,
    PlanProposed,
    RoundAbort,
    RoundJoin,
    RoundSum,
    RoundUpload,
    RunClosed,
    RunCommit,
)
from consortium.ledger.tiles import decode_bundle, encode_bundle
from consortium.ledger.verify import Audit, verify_log
from consortium.secagg.uploads import words_digest
from regulator.bundle import audit_bundle
from regulator.replay import ReplayedRun
from tests.ledger_house import COORDINATOR, REGULATOR, START, House, secret_of

LOG = "tile/entries/000"
NOW = START + 1000

Files = dict[str, bytes]

EVERY = pytest.mark.parametrize(
    "stride",
    [37, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
    ids=["some positions", "every position"],
)
"""All positions take minutes; ``make test`` takes some, the archive's and the entries' all."""


@pytest.fixture(scope="module")
def honest() -> House:
    return House(silos=3, rounds=2).run()


@pytest.fixture(scope="module")
def unreleased() -> House:
    """A run without its release, so that an audit takes no accountant; one proof in it."""
    house = House(silos=3, rounds=1).run(until_end=False)
    size = house.tree.size
    head = house.files[f"checkpoints/{size}"]
    proof = LogProof(index=5, path=house.tree.inclusion(5), checkpoint=head)
    house.files["proofs/5.tlog-proof"] = proof.to_bytes()
    return house


@pytest.fixture(scope="module")
def short() -> House:
    """One sum, every kind of file that is signed or named by a digest, and no long one."""
    house = House(silos=3, rounds=1)
    house.adopt()
    house.commit()
    house.attempt()
    head = house.files[f"checkpoints/{house.tree.size}"]
    proof = LogProof(index=5, path=house.tree.inclusion(5), checkpoint=head)
    house.files["proofs/5.tlog-proof"] = proof.to_bytes()
    return house


@pytest.fixture
def files(honest: House) -> Files:
    return honest.bundle()


def audit(files: Files, house: House, *, now: int = NOW) -> Audit:
    return verify_log(files, house.manifest.digest, now=now, machines=ReplayedRun)


def errors(files: Files, house: House) -> dict[str, Finding]:
    """The first error of each name."""
    found = [one for one in audit(files, house).findings if one.grade is Grade.ERROR]
    return {one.name: one for one in reversed(found)}


def log_of(files: Files) -> tuple[str, list[bytes]]:
    (place,) = [name for name in files if name.startswith("tile/entries/")]
    return place, list(decode_bundle(files[place]))


def index_of(house: House, kind: type[Body], number: int = 0) -> int:
    found = [
        index
        for index, data in enumerate(house.entries)
        if isinstance(from_jcs(data).body, kind)
    ]
    return found[number]


def resealed(house: House, entries: list[bytes]) -> Files:
    """What a coordinator could show if all witnesses had cosigned the changed log."""
    other = House(silos=house.silos, rounds=house.rounds)
    other.files = {
        name: data for name, data in house.files.items() if not name.startswith("proofs/")
    }
    sizes = sorted(
        int(name.rpartition("/")[2]) for name in other.files if name.startswith("checkpoints/")
    )
    other.files = {n: d for n, d in other.files.items() if not n.startswith("checkpoints/")}
    for index, data in enumerate(entries, start=1):
        other.entries.append(data)
        other.tree.append(leaf_hash(data))
        if index in sizes or index == len(entries):
            other.checkpoint()
    return other.bundle()


def forged(house: House, index: int, **body: object) -> Files:
    """The log with one entry's body changed and signed again by its own actor."""
    entries = list(house.entries)
    entry = from_jcs(entries[index])
    changed = replace(entry, body=replace(entry.body, **body))
    key = IdentityKey.from_secret(secret_of(f"identity {entry.actor}"))
    entries[index] = sign_entry(changed, key).to_jcs()
    return resealed(house, entries)


# --- honest -----------------------------------------------------------------------------------


def test_honest_log_has_no_finding(files: Files, honest: House) -> None:
    found = audit(files, honest)
    assert found.findings == ()
    assert found.worst is None
    assert found.entries == len(honest.entries)
    assert found.cosigned_by == honest.names
    assert [run.replayed for run in found.runs] == [4]


def test_honest_log_with_an_aborted_attempt_has_no_finding() -> None:
    house = House(silos=4, rounds=2)
    house.adopt()
    house.commit()
    house.attempt()
    house.abort(house.names[1])
    while not house.session.finished:
        house.attempt(house.names[:1] + house.names[2:])
    house.close()
    assert audit(house.bundle(), house).findings == ()


def test_log_that_ends_in_the_middle_of_a_run_is_noted_and_no_more() -> None:
    house = House(silos=3, rounds=2)
    house.adopt()
    house.commit()
    house.attempt()
    found = audit(house.bundle(), house)
    assert {one.grade for one in found.findings} == {Grade.NOTE}
    assert "run.open" in {one.name for one in found.findings}


def test_sums_without_their_words_are_noted_as_not_proven(honest: House) -> None:
    files = {n: d for n, d in honest.bundle().items() if not n.startswith("uploads/")}
    found = audit(files, honest)
    assert {one.name for one in found.findings} == {"sum.unopened"}
    assert found.worst is Grade.NOTE


# --- any single byte --------------------------------------------------------------------------


def flip(data: bytes, place: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


def test_any_byte_flipped_in_any_entry_is_found_and_names_the_entry(honest: House) -> None:
    """Every position: one audit for each, flipped in an entry of every type at once."""
    files = honest.bundle()
    place, every = log_of(files)
    entries = list({from_jcs(one).type: one for one in every}.values())
    kept = {n: d for n, d in files.items() if n.split("/")[0] in {"manifests", "checkpoint"}}
    for position in range(max(map(len, entries))):
        bent = [flip(entry, position) for entry in entries]
        found = audit({**kept, place: encode_bundle(bent)}, honest).findings
        named = {
            index
            for one in found
            if one.grade is Grade.ERROR and one.check is Check.ENTRIES
            for index in one.entries
        }
        assert named == set(range(len(entries)))


def test_any_length_flipped_in_the_bundle_of_entries_is_found(unreleased: House) -> None:
    files, honest = unreleased.bundle(), unreleased
    place, entries = log_of(files)
    start = 0
    for index, entry in enumerate(entries):
        for byte in (0, 1):
            found = audit({**files, place: flip(files[place], start + byte)}, honest).findings
            first = min(e for one in found for e in one.entries if one.grade is Grade.ERROR)
            assert first <= index
        start += 2 + len(entry)


@EVERY
def test_any_byte_flipped_in_a_named_document_is_found_in_its_file(
    files: Files, honest: House, stride: int
) -> None:
    places = [name for name in files if name.split("/")[0] in {"models", "sums", "schemas"}]
    for place in places:
        for position in range(0, len(files[place]), stride):
            found = Findings()
            read_evidence({**files, place: flip(files[place], position)}, found)
            assert [one.place for one in found.found] == [place]
    model = next(place for place in places if place.startswith("models/"))
    named = errors({**files, model: flip(files[model], 777)}, honest)
    assert named["model.missing"].entries == (index_of(honest, ReleaseCandidate),)
    total = next(place for place in places if place.startswith("sums/"))
    assert "sum.missing" in errors({**files, total: flip(files[total], 5)}, honest)


@EVERY
def test_any_byte_flipped_in_heads_words_or_proofs_is_found_in_its_file(
    short: House, stride: int
) -> None:
    """Every position: flipped in all these files at once, each of which must be named."""
    files, honest = short.bundle(), short
    kinds = ("checkpoint", "uploads/", "proofs/")
    places = [name for name in files if name.startswith(kinds)]
    longest = max(len(files[name]) for name in places)
    for position in range(0, longest, stride):
        bent = {name: flip(files[name], position) for name in places}
        found = audit({**files, **bent}, honest).findings
        assert {one.place for one in found if one.grade is Grade.ERROR} >= set(places)


@EVERY
def test_any_byte_flipped_in_the_manifest_or_its_signatures_is_found(
    short: House, stride: int
) -> None:
    files = short.bundle()
    for place in [name for name in files if name.startswith("manifests/")]:
        for position in range(0, len(files[place]), stride):
            found = audit({**files, place: flip(files[place], position)}, short)
            assert found.worst is Grade.ERROR


def test_any_byte_flipped_in_the_archive_is_found(unreleased: House) -> None:
    data = pack(unreleased.bundle())
    for position in range(len(data)):
        found = Findings()
        unpack(flip(data, position), found)
        assert found.found, position


def test_archive_with_a_flipped_byte_fails_the_audit_as_a_whole(
    files: Files, honest: House
) -> None:
    data = pack(files)
    for position in range(0, len(data), len(data) // 20):
        found = audit_bundle(flip(data, position), honest.manifest.digest, now=NOW)
        assert found.worst is Grade.ERROR


# --- history ----------------------------------------------------------------------------------


def dropped(entries: list[bytes]) -> list[bytes]:
    return entries[:20] + entries[21:]


def reordered(entries: list[bytes]) -> list[bytes]:
    return [*entries[:20], entries[21], entries[20], *entries[22:]]


def repeated(entries: list[bytes]) -> list[bytes]:
    return [*entries[:20], entries[19], *entries[20:]]


def cut(entries: list[bytes]) -> list[bytes]:
    return entries[:-1]


@pytest.mark.parametrize("change", [dropped, reordered, repeated, cut])
def test_history_that_was_changed_after_it_was_cosigned_is_found(
    files: Files, honest: House, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    place, entries = log_of(files)
    del files[place]
    changed = change(entries)
    files[f"tile/entries/000.p/{len(changed)}"] = encode_bundle(changed)
    named = errors(files, honest)
    assert {"log.root", "log.length"} & set(named)
    if change is not cut:
        assert named["log.root"].entries[0] <= 20


def test_fork_of_the_log_is_found_at_the_earlier_head(files: Files, honest: House) -> None:
    other = House(silos=3, rounds=2)
    other.adopt()
    other.now += 7
    other.commit()
    size = other.hint
    assert f"checkpoints/{size}" in files
    files[f"checkpoints/{size}"] = other.files[f"checkpoints/{size}"]
    assert errors(files, honest)["log.root"].place == f"checkpoints/{size}"


def test_head_without_a_quorum_is_found(files: Files, honest: House) -> None:
    lines = files["checkpoint"].splitlines(keepends=True)
    kept = [one for one in lines if b"silo-01" not in one and b"silo-02" not in one]
    files["checkpoint"] = b"".join(kept)
    named = errors(files, honest)
    assert "cosigned by 1 partners" in named["head.quorum"].text
    assert audit(files, honest).cosigned_by == ()


class Unwitnessed(House):
    """A log whose heads nobody cosigns, and whose members know of none."""

    def checkpoint(self) -> bytes:
        made = super().checkpoint()
        self.hint = 0
        return made

    def cosigned(self, note: Note, name: PartnerId) -> Note:
        del name
        return note

    def bundle(self) -> Files:
        files = super().bundle()
        return {one: data for one, data in files.items() if "checkpoints/" not in one}


@pytest.mark.parametrize("late", [REGULATOR, PartnerId("silo-02")])
def test_head_that_one_witness_cosigns_days_later_counts_as_before(late: PartnerId) -> None:
    """Who fills its mirror cosigns old heads; entries that rest on them stay proven."""
    house = House(silos=3, rounds=1)
    house.adopt()
    house.commit()
    house.attempt()
    for name in [one for one in house.files if one.startswith("checkpoints/")]:
        note = parse_note(house.files[name])
        house.now = START + 2 * 24 * 3600
        house.files[name] = house.cosigned(note, late).to_bytes()
    assert not errors_at(house, house.now + 10)


def errors_at(house: House, now: int) -> set[str]:
    found = audit(house.bundle(), house, now=now).findings
    return {one.name for one in found if one.grade is Grade.ERROR}


def test_log_that_never_had_a_witness_is_a_warning_and_no_error() -> None:
    house = Unwitnessed(silos=3, rounds=1).run(until_end=False)
    found = audit(house.bundle(), house)
    assert [one.name for one in found.findings if one.grade is not Grade.NOTE] == [
        "head.unwitnessed"
    ]
    assert found.cosigned_by == ()


def test_cosignatures_cut_from_a_witnessed_log_are_an_error(honest: House) -> None:
    files = {one: data for one, data in honest.bundle().items() if "checkpoints/" not in one}
    lines = files["checkpoint"].splitlines(keepends=True)
    log = [one for one in lines if b"/silo-" not in one and b"/regulator" not in one]
    files["checkpoint"] = b"".join(log)
    assert "head.quorum" in errors(files, honest)


def test_head_of_the_future_is_found(files: Files, honest: House) -> None:
    found = audit(files, honest, now=START - 1000)
    assert "head.future" in {one.name for one in found.findings}


def test_old_head_is_noted(files: Files, honest: House) -> None:
    found = audit(files, honest, now=START + 10 * 86_400)
    assert {one.name for one in found.findings} == {"head.age"}


def test_bundle_under_another_manifest_than_the_pinned_one_is_found(files: Files) -> None:
    found = verify_log(files, Digest("ab" * 32), now=NOW, machines=ReplayedRun)
    assert "manifest.missing" in {one.name for one in found.findings}
    assert found.worst is Grade.ERROR


def test_manifest_that_not_all_have_signed_is_found(files: Files, honest: House) -> None:
    place = f"manifests/{honest.manifest.digest}.sigs"
    plain = json.loads(files[place])
    plain["signed"] = plain["signed"][1:]
    files[place] = canonical_json(plain)
    assert "manifest.signatures" in errors(files, honest)


def test_entry_signed_with_another_key_is_found(honest: House) -> None:
    index = index_of(honest, RoundUpload)
    entries = list(honest.entries)
    entry = from_jcs(entries[index])
    entries[index] = sign_entry(
        entry, IdentityKey.from_secret(secret_of("identity coordinator"))
    ).to_jcs()
    found = errors(resealed(honest, entries), honest)
    assert found["entry.signature"].entries == (index,)


def test_entry_in_the_name_of_a_role_that_may_not_is_found(honest: House) -> None:
    index = index_of(honest, RoundUpload)
    entries = list(honest.entries)
    entry = replace(from_jcs(entries[index]), actor=COORDINATOR)
    key = IdentityKey.from_secret(secret_of("identity coordinator"))
    entries[index] = sign_entry(entry, key).to_jcs()
    assert index in errors(resealed(honest, entries), honest)["entry.signature"].entries


# --- runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body", "name"),
    [
        (RoundJoin, {"context": Digest("ab" * 32)}, "sum.joins"),
        (RoundJoin, {"ephemeral": b"\x09" * 32}, "sum.rctx"),
        (RoundJoin, {"link": Digest("ab" * 32)}, "join.chain"),
        (RoundJoin, {"count": 2}, "join.chain"),
        (RoundJoin, {"round": 2}, "join.attempt"),
        (RunCommit, {"chain_head": Digest("ab" * 32)}, "join.chain"),
        (RunCommit, {"training_units": 1}, "commit.reserve"),
        (RunCommit, {"plan": Digest("ab" * 32)}, "commit.plan"),
        (BudgetDebit, {"units": 1}, "debit.units"),
        (BudgetDebit, {"variance": "5"}, "debit.units"),
        (BudgetDebit, {"partners": 9}, "debit.units"),
        (BudgetDebit, {"account": "holdout"}, "debit.units"),
        (BudgetDebit, {"attempt": 2}, "debit.missing"),
        (BudgetDebit, {"units": 1 << 42}, "account.overdrawn"),
        (BudgetDebit, {"units": 1 << 42}, "debit.reserve"),
        (RoundUpload, {"words": Digest("ab" * 32)}, "sum.uploads"),
        (RoundUpload, {"joined": Digest("ab" * 32)}, "upload.stray"),
        (RoundSum, {"joined": Digest("ab" * 32)}, "sum.rctx"),
        (RoundSum, {"total": Digest("ab" * 32)}, "sum.missing"),
        (RoundSum, {"uploads": ()}, "sum.uploads"),
        (RunClosed, {"attempts": 5}, "run.attempts"),
        (RunClosed, {"outcome": "failed", "version": None}, "run.outcome"),
        (RunClosed, {"version": None}, "run.version"),
        (RunClosed, {"version": Digest("ab" * 32)}, "release.run"),
        (ReleaseCandidate, {"statement": Digest("ab" * 32)}, "statement.digest"),
        (ReleaseVote, {"accept": False}, None),
        (ReleaseVote, {"manifest": Digest("ab" * 32)}, "vote.manifest"),
        (StatementPublished, {"person": "0.6790"}, "statement.published"),
        (StatementPublished, {"record": "0.1"}, "statement.published"),
    ],
    ids=str,
)
def test_entry_that_says_something_else_is_found_and_named(
    honest: House, kind: type[Body], body: dict[str, Any], name: str | None
) -> None:
    index = index_of(honest, kind)
    found = errors(forged(honest, index, **body), honest)
    if name is None:
        assert found == {}
        return
    assert name in found, sorted(found)


def changed_request(house: House, number: int, **fields: object) -> Files:
    index = index_of(house, RoundSum, number)
    body = from_jcs(house.entries[index]).body
    assert isinstance(body, RoundSum)
    return forged(house, index, request=replace(body.request, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": Digest("ab" * 32)},
        {"variance": "1000000"},
        {"head": Digest("ab" * 32)},
        {"round": 7},
        {"dimension": 3},
        {"scale_bits": 10},
    ],
    ids=str,
)
def test_request_that_does_not_follow_from_the_sums_is_found_by_replay(
    honest: House, fields: dict[str, Any]
) -> None:
    found = errors(changed_request(honest, 1, **fields), honest)
    assert found["replay.request"].entries == (index_of(honest, RoundSum, 1),)
    assert next(iter(fields)) in found["replay.request"].text


def test_sum_that_is_not_that_of_the_words_is_found() -> None:
    house = House(silos=3, rounds=2)
    house.adopt()
    house.commit()
    house.attempt()
    index = index_of(house, RoundSum)
    body = from_jcs(house.entries[index]).body
    assert isinstance(body, RoundSum)
    data = bytearray(house.files[f"sums/{body.total}.bin"])
    data[3] ^= 1

    digest = words_digest(np.frombuffer(bytes(data), dtype="<u8").astype(np.uint64))
    house.files[f"sums/{digest}.bin"] = bytes(data)
    found = errors(forged(house, index, total=digest), house)
    assert found["sum.wrong"].entries == (index,)


def with_extra(house: House, at: int, *entries: tuple[PartnerId, Body], hint: int = 0) -> Files:
    """The log with more entries from index ``at`` on, signed by whoever they name."""
    log = list(house.entries)
    made = [
        sign_entry(
            Entry(seq_hint=hint, at=START, actor=actor, body=body),
            IdentityKey.from_secret(secret_of(f"identity {actor}")),
        ).to_jcs()
        for actor, body in entries
    ]
    return resealed(house, [*log[:at], *made, *log[at:]])


def test_second_join_of_one_attempt_is_found(honest: House) -> None:
    index = index_of(honest, RoundJoin)
    entry = from_jcs(honest.entries[index])
    assert isinstance(entry.body, RoundJoin)
    again = replace(entry.body, context=Digest("ab" * 32), count=2)
    files = with_extra(honest, index + 1, (entry.actor, again))
    found = errors(files, honest)
    assert found["join.twice"].entries == (index, index + 1)
    assert "join.stray" in found


def test_charge_and_words_before_the_last_sum_was_under_a_cosigned_head_are_found() -> None:
    house = House(silos=3, rounds=2)
    house.adopt()
    house.commit()
    house.attempt()
    heads = [int(one.rpartition("/")[2]) for one in house.files if "checkpoints" in one]
    house.hint = min(heads)
    house.attempt()
    found = errors(house.bundle(), house)
    assert found["round.unwitnessed"].entries[0] >= index_of(house, BudgetDebit, 3)
    names = [one.name for one in audit(house.bundle(), house).findings]
    assert names.count("round.unwitnessed") == 6  # three debits and three uploads


def test_entry_that_rests_on_a_head_nobody_cosigned_is_found() -> None:
    house = House(silos=3, rounds=2)
    house.adopt()
    house.hint = 3
    house.commit()
    assert "entry.head" in errors(house.bundle(), house)


def test_entry_that_stands_before_what_it_rests_on_is_found() -> None:
    house = House(silos=3, rounds=2)
    house.hint = 50
    house.adopt()
    assert errors(house.bundle(), house)["entry.hint"].entries == (0,)


def test_attempt_that_vanished_from_the_log_is_found() -> None:
    house = House(silos=3, rounds=2)
    house.adopt()
    house.commit()
    request, _ = house.session.request(house.names)
    house.joins(request)
    house.debits(request)
    house.session.on_missing(request, {house.names[0]: "x"}, charged=True)
    house.checkpoint()
    house.attempt()
    found = audit(house.bundle(), house).findings
    names = {one.name for one in found}
    assert {"join.stray", "replay.request", "debit.stray"} <= names


@pytest.mark.parametrize(("partners", "found"), [(5, set()), (50, {"debit.mechanism"})])
def test_debit_of_an_attempt_lost_in_a_crash_is_at_the_price_of_the_roster_before(
    partners: int, found: set[str]
) -> None:
    house = House(silos=5, rounds=1)
    house.adopt()
    house.commit()
    before, _ = house.session.request(house.names)
    after, _ = house.session.request(house.names[:4])
    reasons = dict.fromkeys(after.roster, "R06")
    house.append(
        COORDINATOR,
        RoundAbort(
            request=after,
            missing=tuple(reasons),
            reasons=tuple(reasons.values()),
            charged=True,
        ),
    )
    mechanism = house.session.mechanism(before.kind, partners=5)
    debit = BudgetDebit(
        account="training",
        epoch="default",
        run=before.run,
        kind=before.kind,
        round=before.round,
        attempt=before.attempt,
        units=mechanism.units(person=True),
        variance=str(mechanism.variance),
        partners=partners,
    )
    house.append(house.names[0], debit)
    house.session.on_missing(after, reasons, charged=True)
    house.checkpoint()
    house.attempt()
    assert set(errors(house.bundle(), house)) == found


def test_abort_after_all_had_joined_that_is_called_free_is_found() -> None:
    house = House(silos=4, rounds=2)
    house.adopt()
    house.commit()
    house.attempt()
    house.abort(house.names[1], charged=False)
    found = errors(house.bundle(), house)
    assert found["abort.uncharged"].entries[0] == index_of(house, RoundAbort)


@pytest.mark.parametrize(("charged", "found"), [(False, {"join.hidden"}), (True, set())])
def test_attempt_that_is_shown_without_the_joins_that_were_made_in_it_is_looked_at(
    *, charged: bool, found: set[str]
) -> None:
    house = House(silos=4, rounds=2)
    house.adopt()
    house.commit()
    house.attempt()
    request, _ = house.session.request(house.names)
    for name in request.roster:
        house.counts[name] += 1  # all joined, and nothing of it is logged
    missing = {house.names[1]: "no answer"}
    house.append(
        COORDINATOR,
        RoundAbort(
            request=request,
            missing=tuple(missing),
            reasons=tuple(missing.values()),
            charged=charged,
        ),
    )
    house.session.on_missing(request, missing, charged=charged)
    house.checkpoint()
    house.attempt()
    warned = audit(house.bundle(), house).findings
    assert {one.name for one in warned if one.grade is Grade.WARNING} == found


def test_words_that_left_before_they_were_charged_are_found(honest: House) -> None:
    debit, upload = index_of(honest, BudgetDebit), index_of(honest, RoundUpload)
    entries = list(honest.entries)
    entries[debit], entries[upload] = entries[upload], entries[debit]
    assert "upload.uncharged" in errors(resealed(honest, entries), honest)


def test_join_after_its_sum_and_upload_after_its_sum_are_found(honest: House) -> None:
    for kind, name in ((RoundJoin, "join.late"), (RoundUpload, "upload.late")):
        entries = list(honest.entries)
        moved = entries.pop(index_of(honest, kind))
        entries.insert(index_of(honest, RoundSum) + 1, moved)
        assert name in errors(resealed(honest, entries), honest)


def test_join_without_a_commitment_is_found(honest: House) -> None:
    entries = list(honest.entries)
    del entries[index_of(honest, RunCommit)]
    assert "join.before_commit" in errors(resealed(honest, entries), honest)


def test_run_that_nobody_proposed_is_found(honest: House) -> None:
    entries = list(honest.entries)
    del entries[index_of(honest, PlanProposed)]
    assert "run.unknown" in errors(resealed(honest, entries), honest)


def test_entry_of_a_run_that_is_over_is_found(honest: House) -> None:
    entries = list(honest.entries)
    entries.append(entries[index_of(honest, BudgetDebit)])
    assert "run.over" in errors(resealed(honest, entries), honest)


# --- claims -----------------------------------------------------------------------------------


def restated(house: House, change: Callable[[dict[str, Any]], None]) -> Files:
    """A model document with another statement, consistently published and voted on."""
    (place,) = [name for name in house.files if name.startswith("models/")]
    document = json.loads(house.files[place])
    change(document)
    data = canonical_json(document)
    version = hash_with(Label.MODEL, data)
    digest = statement_digest(document["statement"])
    headline = document["statement"]["headline"]
    entries = []
    for raw in house.entries:
        entry, body = from_jcs(raw), from_jcs(raw).body
        match body:
            case RunClosed() | ReleaseVote() | ReleaseServed():
                body = replace(body, version=version)
            case ReleaseCandidate():
                body = replace(body, version=version, statement=digest)
            case StatementPublished():
                body = replace(
                    body,
                    version=version,
                    statement=digest,
                    person=headline["person"],
                    record=headline["record"],
                )
            case _:
                pass
        key = IdentityKey.from_secret(secret_of(f"identity {entry.actor}"))
        entries.append(sign_entry(replace(entry, body=body), key).to_jcs())
    files = resealed(house, entries)
    del files[place]
    return files | {f"models/{version}.json": data}


def lower(text: str) -> str:
    return f"{float(text) - 0.01:.4f}"


@pytest.mark.parametrize("who", ["person", "record"])
def test_statement_altered_by_a_hundredth_is_found(honest: House, who: str) -> None:
    def change(document: dict[str, Any]) -> None:
        headline = document["statement"]["headline"]
        headline[who] = lower(headline[who])
        headline[f"{who}_by_honest"]["claimed"] = headline[who]
        training = document["statement"]["epsilon"]["training"]
        training[who] = lower(training[who])

    files = restated(honest, change)
    found = audit(files, honest).findings
    assert audit_bundle(pack(files), honest.manifest.digest, now=NOW).findings == found
    named = [one for one in found if one.name == "statement.altered"]
    assert {one.entries for one in named} == {(index_of(honest, ReleaseCandidate),)}
    assert any(one.text.startswith(f"headline.{who}:") for one in named)
    assert "statement.published" in {one.name for one in found}


@pytest.mark.parametrize("which", ["closed_form", "pld", "rdp"])
def test_figure_of_each_accountant_altered_by_a_hundredth_is_found(
    honest: House, which: str
) -> None:
    def change(document: dict[str, Any]) -> None:
        figures = document["statement"]["accountants"]
        figures[which] = lower(figures[which])

    found = errors(restated(honest, change), honest)
    assert found["statement.altered"].text.startswith(f"accountants.{which}:")


def test_attempt_left_out_of_the_statement_is_found(honest: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["statement"]["attempts"]["made"] -= 1

    assert "statement.altered" in errors(restated(honest, change), honest)


def test_model_that_the_sums_do_not_lead_to_is_found(honest: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["model"]["weights"][0][1] = "0.125"

    assert "model.wrong" in errors(restated(honest, change), honest)


def better(figures: dict[str, str]) -> None:
    figures["auc"] = f"{float(figures['auc']) + 0.01:.6f}"


def fewer_bads(figures: dict[str, Any]) -> None:
    figures["table"][0][1] = f"{float(figures['table'][0][1]) - 1:.6f}"


@pytest.mark.parametrize("change_figures", [better, fewer_bads])
def test_figures_nicer_than_the_evaluation_sums_are_found(
    honest: House, change_figures: Callable[[dict[str, Any]], None]
) -> None:
    def change(document: dict[str, Any]) -> None:
        change_figures(next(iter(document["metrics"].values())))

    found = errors(restated(honest, change), honest)
    assert found["model.figures"].entries == (index_of(honest, ReleaseCandidate),)
    assert found["model.figures"].text.startswith("metrics.")


def test_centres_of_joint_scores_that_the_sums_do_not_lead_to_are_found(
    honest: House,
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["joint"]["base"] = f"{float(document['joint']['base']) - 0.1:.6f}"

    assert "model.figures" in errors(restated(honest, change), honest)


def test_figures_of_a_block_that_the_plan_does_not_have_are_found(honest: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["metrics"]["another"] = {}

    assert "model.figures" in errors(restated(honest, change), honest)


def test_figure_that_another_machine_rounds_otherwise_is_no_finding(honest: House) -> None:
    def change(document: dict[str, Any]) -> None:
        figures = next(iter(document["metrics"].values()))
        figures["auc"] = f"{float(figures['auc']) + 1e-6:.6f}"

    assert "model.figures" not in errors(restated(honest, change), honest)


def test_model_of_another_plan_is_found(honest: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["plan"]["epsilon"] = "2"

    assert "model.plan" in errors(restated(honest, change), honest)


def test_release_served_without_votes_or_statement_is_found(honest: House) -> None:
    entries = [
        raw
        for raw in honest.entries
        if not isinstance(from_jcs(raw).body, ReleaseVote | StatementPublished)
    ]
    found = errors(resealed(honest, entries), honest)
    assert {"release.votes", "release.statement"} <= set(found)


def test_vote_cast_again_is_found(honest: House) -> None:
    entries = list(honest.entries)
    index = index_of(honest, ReleaseVote)
    entries.insert(index + 1, entries[index])
    assert "vote.replayed" in errors(resealed(honest, entries), honest)


def test_release_without_a_candidate_is_found(honest: House) -> None:
    entries = list(honest.entries)
    del entries[index_of(honest, ReleaseCandidate)]
    found = audit(resealed(honest, entries), honest).findings
    assert {"release.unknown", "release.missing"} <= {one.name for one in found}


def test_release_served_against_a_failed_audit_is_found(honest: House) -> None:
    index = index_of(honest, AuditResult)
    found = errors(forged(honest, index, verdict="failed"), honest)
    assert found["audit.contradicted"].entries == (index_of(honest, ReleaseServed), index)


def test_failed_audit_stands_against_a_later_pass_and_other_words_are_no_verdict(
    honest: House,
) -> None:
    entries, index = list(honest.entries), index_of(honest, AuditResult)
    entry = from_jcs(entries[index])
    key = honest.identities[REGULATOR]

    def said(verdict: str) -> bytes:
        body = AuditResult(run=honest.plan.run, verdict=verdict, report=Digest("ab" * 32))
        return sign_entry(replace(entry, body=body), key).to_jcs()

    entries[index : index + 1] = [said("failed"), said("passed")]
    found = errors(resealed(honest, entries), honest)["audit.contradicted"]
    assert index in found.entries
    entries[index : index + 2] = [said("Failed")]
    assert errors(resealed(honest, entries), honest)["audit.verdict"].entries == (index,)


def test_challenge_before_the_end_or_without_an_answer_is_found(honest: House) -> None:
    challenge = AuditChallenge(run=honest.plan.run, sums=(1,), choice=Digest("ab" * 32))
    end = len(honest.entries)
    late = audit(with_extra(honest, end, (REGULATOR, challenge)), honest).findings
    assert {one.name for one in late if one.grade is Grade.WARNING} == {"audit.unanswered"}
    early = errors(
        with_extra(honest, index_of(honest, RunClosed), (REGULATOR, challenge)), honest
    )
    assert "audit.early" in early


def test_incident_is_shown_as_a_warning(honest: House) -> None:
    incident = Incident(kind="fork", text=Digest("ab" * 32))
    found = audit(with_extra(honest, len(honest.entries), (honest.names[0], incident)), honest)
    assert [one.name for one in found.findings] == ["incident"]
    assert found.worst is Grade.WARNING


@pytest.mark.parametrize(("hint", "name"), [(3, "entry.head"), (10**9, "entry.hint")])
def test_incident_that_rests_on_another_history_is_no_error_of_the_log(
    honest: House, hint: int, name: str
) -> None:
    incident = Incident(kind="log.rewritten", text=Digest("ab" * 32))
    extra = (honest.names[0], incident)
    files = with_extra(honest, len(honest.entries), extra, hint=hint)
    found = audit(files, honest)
    assert {one.name for one in found.findings} == {"incident", name}
    assert found.worst is Grade.WARNING


def test_inquiries_out_of_time_are_found(honest: House) -> None:
    batch = ScoreBatch(second=START, root=Digest("ab" * 32), count=3)
    end = len(honest.entries)
    twice = with_extra(honest, end, (COORDINATOR, batch), (COORDINATOR, batch))
    assert errors(twice, honest)["score.order"].entries == (end + 1,)


def test_revoked_member_that_acts_afterwards_is_found(honest: House) -> None:
    member = honest.names[2]
    identity = bytes.fromhex(honest.manifest.member(member).identity)
    revoked = IdentityRevoked(
        member=member, identity=identity, reason="key_lost", effective_at=START
    )
    incident = Incident(kind="noise", text=Digest("ab" * 32))
    end = len(honest.entries)
    one_voice = with_extra(honest, end, (honest.names[0], revoked), (member, incident))
    assert "entry.revoked" not in errors(one_voice, honest)
    two = with_extra(
        honest, end, (honest.names[0], revoked), (REGULATOR, revoked), (member, incident)
    )
    assert errors(two, honest)["entry.revoked"].entries == (end + 2, end + 1)


def test_operator_alone_revokes_and_only_the_attempt_under_way_may_still_have_the_member(
    honest: House,
) -> None:
    member = honest.names[2]
    identity = bytes.fromhex(honest.manifest.member(member).identity)
    revoked = IdentityRevoked(
        member=member, identity=identity, reason="key_stolen", effective_at=START
    )
    sums = [
        index
        for index, data in enumerate(honest.entries)
        if isinstance(from_jcs(data).body, RoundSum)
    ]
    under_way = with_extra(honest, sums[-2] + 1, (COORDINATOR, revoked))
    early = with_extra(honest, sums[-3] + 1, (COORDINATOR, revoked))
    found = [one for one in audit(under_way, honest).findings if one.name == "entry.revoked"]
    late = {index for one in found for index in one.entries}
    assert min(late - {sums[-2] + 1}) > sums[-1] + 1
    assert errors(early, honest)["entry.revoked"].entries[0] <= sums[-1] + 1


def test_file_that_does_not_belong_to_a_bundle_is_found(files: Files, honest: House) -> None:
    files["notes.txt"] = b"trust me"
    assert errors(files, honest)["file.unknown"].place == "notes.txt"


def test_plan_under_another_manifest_is_found(honest: House) -> None:
    index = index_of(honest, PlanProposed)
    plan = replace(honest.plan, manifest=Digest("ab" * 32))
    found = errors(forged(honest, index, plan=plan), honest)
    assert found["plan.manifest"].entries == (index,)


@pytest.mark.parametrize(
    "place",
    [
        "tile/entries/000.p/Æ",
        "tile/entries/²",
        "tile/entries/000.p/",
        "tile/entries/000.p/0",
        "tile/entries/" + "x000/" * 2_000 + "000",
        "tile/entries/" + "0" * 5_000,
        "checkpoints/" + "1" * 5_000,
        "proofs/" + "1" * 5_000 + ".tlog-proof",
    ],
)
def test_file_of_an_impossible_name_is_a_finding_and_no_end_of_the_audit(
    files: Files, honest: House, place: str
) -> None:
    files[place] = b"\0\1a"
    named = errors(files, honest)
    assert place in {one.place for one in named.values()}
