"""What a bundle shows of inquiries: the batches of the log, and records of keys (7.13, 8.8)."""

from collections.abc import Iterator, Mapping

from consortium.canonical import Label, hash_with
from consortium.documents import parse_document
from consortium.identity.epoch_steps import EpochRecord
from consortium.ledger.bodies import DecisionChallenge
from consortium.ledger.draws import drawn_records
from consortium.ledger.entries import AuditChallenge, Entry, ScoreBatch, from_jcs
from consortium.ledger.inquiries import Leaf, encode_batch
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.tiles import decode_bundle
from coordinator.inquiry_log import leaf_of
from coordinator.scoring_storage import ScoringStore

MOST_BATCHES = 30_000
"""Files of one bundle; of a longer log the newest batches are shown, and those drawn."""

_SIGNS = (
    b'"type":"score.batch"',
    b'"type":"audit.challenge"',
    b'"type":"decision.challenge"',
)


def scoring_files(store: ScoringStore, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The batches that the log in ``files`` names, opened, and the records of all epochs."""
    kept = {one.second for one in store.batches()}
    shown: dict[str, bytes] = {}
    for second in _wanted(files):
        if second in kept:
            leaves = [leaf_of(row) for row in store.batch(second)]
            opened = (Leaf(leaf_hash(data), data) for data in leaves)
            shown[f"inquiries/{second}.bin"] = encode_batch(opened)
    for record in store.epoch_records():
        document = parse_document(EpochRecord, record).document
        shown[f"epochs/{hash_with(Label.EPOCH, document)}.json"] = record
    return shown


def _wanted(files: Mapping[str, bytes]) -> set[int]:
    """Seconds of the newest batches, and of those that a challenge has drawn records of."""
    batches: list[tuple[int, int, int]] = []
    drawn: set[int] = set()
    for index, entry in _entries(files):
        if isinstance(entry.body, ScoreBatch):
            batches.append((index, entry.body.second, entry.body.count))
        elif isinstance(entry.body, AuditChallenge | DecisionChallenge):
            under = [(second, n) for at, second, n in batches if at < entry.seq_hint]
            drawn |= {second for second, _ in drawn_records(entry.body.choice, under)}
    return drawn | {second for _, second, _ in batches[-MOST_BATCHES:]}


def _entries(files: Mapping[str, bytes]) -> Iterator[tuple[int, Entry]]:
    """Batches and challenges with their indices, in order of the log."""
    index = 0
    for place, data in sorted(files.items()):
        if place.startswith("tile/entries/"):
            for one in decode_bundle(data):
                if any(sign in one for sign in _SIGNS):
                    yield index, from_jcs(one)
                index += 1
