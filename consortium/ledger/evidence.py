"""The files of an audit bundle, read into what the audit works on (protocol 8.7, 8.8).

A bundle is the log's static files with what its entries name by digest:

    checkpoint                     newest head; checkpoints/SIZE: earlier ones
    tile/entries/...               entry bundles
    manifests/DIGEST.json, .sigs   bodies and signatures of every version
    schemas/DIGEST.json            feature schemas, canonical
    models/VERSION.json            model documents, statements inside
    audits/DIGEST.json             empirical audits of the software
    tables/DIGEST.json             published tables, their plans and statements inside
    sums/DIGEST.bin                published sums as little-endian words
    uploads/RCTX.bin               all words of one sum, in order of the roster (optional)
    proofs/INDEX.tlog-proof        proofs of single entries (optional)
    inquiries/SECOND.bin           all leaves of one batch of inquiries (optional)
    epochs/DIGEST.json             records of the pseudonyms' keys, by their documents' digest

Whatever has a digest for its name is compared with it here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consortium.audit.result import EmpiricalAudit
from consortium.canonical import Label, hash_with, parse_canonical
from consortium.credit.table_document import table_digest
from consortium.documents import parse_document
from consortium.errors import DecodeError
from consortium.features.schema import Schema
from consortium.identity.epoch_steps import EpochRecord
from consortium.ids import Digest
from consortium.ledger.findings import Check, Findings
from consortium.ledger.inquiries import Leaf, decode_batch
from consortium.ledger.tiles import bundle_paths, decode_bundle, parse_path
from consortium.manifest import Manifest, parse_manifest
from consortium.messages import Signed
from consortium.secagg.uploads import words_digest

Words = NDArray[np.uint64]

_WORD_BYTES = 8
_NAME = re.compile(
    r"checkpoint|checkpoints/[1-9][0-9]{0,15}|tile/entries/[x0-9/]+(?:\.p/[0-9]+)?"
    r"|manifests/[0-9a-f]{64}\.(?:json|sigs)|(?:schemas|models|audits|tables)/[0-9a-f]{64}\.json"
    r"|(?:sums|uploads)/[0-9a-f]{64}\.bin|proofs/(?:0|[1-9][0-9]{0,15})\.tlog-proof"
    r"|inquiries/(?:0|[1-9][0-9]{0,15})\.bin|epochs/[0-9a-f]{64}\.json"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatures:
    """The document of a manifest's signatures."""

    signed: tuple[Signed, ...]


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What a bundle holds. Digests are those of the contents, and so are the keys."""

    manifests: dict[Digest, tuple[Manifest, tuple[Signed, ...]]] = field(default_factory=dict)
    head: bytes = b""
    earlier: dict[int, bytes] = field(default_factory=dict)
    """Earlier checkpoints by the size that their file name says."""
    entries: list[bytes] = field(default_factory=list)
    schemas: dict[Digest, Schema] = field(default_factory=dict)
    models: dict[Digest, bytes] = field(default_factory=dict)
    sums: dict[Digest, Words] = field(default_factory=dict)
    uploads: dict[Digest, Words] = field(default_factory=dict)
    """By rctx; their digests stand in the log, not in the name."""
    proofs: dict[int, bytes] = field(default_factory=dict)
    audits: dict[Digest, EmpiricalAudit] = field(default_factory=dict)
    tables: dict[Digest, bytes] = field(default_factory=dict)
    inquiries: dict[int, tuple[Leaf, ...]] = field(default_factory=dict)
    """Batches by second; that they are those of the log is checked by their root."""
    epochs: dict[Digest, bytes] = field(default_factory=dict)
    """Records by the digest of their documents."""


def read_evidence(files: Mapping[str, bytes], findings: Findings) -> Evidence:
    """Parse every file; what does not parse or is not its name is a finding."""
    evidence = Evidence(head=files.get("checkpoint", b""))
    for place in sorted(files):
        if not _NAME.fullmatch(place):
            findings.error(
                Check.BUNDLE, "file.unknown", f"no such file belongs here: {place}", place=place
            )
            continue
        folder, _, name = place.partition("/")
        reader = _READERS.get(folder)
        if reader is not None:
            with findings.catch(Check.BUNDLE, "file.broken", place=place):
                reader(evidence, name, files)
    _read_entries(files, evidence, findings)
    return evidence


def _read_entries(files: Mapping[str, bytes], evidence: Evidence, findings: Findings) -> None:
    places = {place for place in files if place.startswith("tile/entries/")}
    tiles = []
    for place in sorted(places):
        with findings.catch(Check.BUNDLE, "file.broken", place=place):
            tiles.append(parse_path(place))
    for tile in sorted(tiles, key=lambda one: (one.index, one.width)):
        place = str(tile)
        expected = len(evidence.entries)
        try:
            evidence.entries += decode_bundle(files[place])
        except DecodeError as error:
            at = expected + int(str(error).rpartition(" ")[2] if "entry" in str(error) else 0)
            findings.error(Check.ROOT, "log.broken", f"{error}", at, place=place)
            return
    size = len(evidence.entries)
    if size and {str(path) for path in bundle_paths(size)} != places:
        findings.error(
            Check.ROOT, "log.files", f"the files are not those of a log of {size} entries"
        )


def _manifest(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    digest, _, kind = name.partition(".")
    if kind != "json":
        if f"manifests/{digest}.json" not in files:
            raise DecodeError("signatures without a manifest")
        return
    manifest = parse_manifest(files[f"manifests/{name}"])
    _same(manifest.digest, digest)
    sigs = files.get(f"manifests/{digest}.sigs")
    if sigs is None:
        raise DecodeError("a manifest without signatures")
    # Without them it still says who is who; that nobody signed it is the next check's.
    evidence.manifests[manifest.digest] = (manifest, ())
    signed = parse_document(Signatures, sigs).signed
    evidence.manifests[manifest.digest] = (manifest, signed)


def _schema(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    plain = parse_canonical(files[f"schemas/{name}"])
    if not isinstance(plain, dict):
        raise DecodeError("not a feature schema")
    schema = Schema.from_canonical(plain)
    _same(schema.digest, name.partition(".")[0])
    evidence.schemas[schema.digest] = schema


def _model(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    data = files[f"models/{name}"]
    version = hash_with(Label.MODEL, data)
    _same(version, name.partition(".")[0])
    evidence.models[version] = data


def _audit(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    audit = EmpiricalAudit.from_canonical(parse_canonical(files[f"audits/{name}"]))
    _same(audit.digest, name.partition(".")[0])
    evidence.audits[audit.digest] = audit


def _table(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    data = files[f"tables/{name}"]
    digest = table_digest(data)
    _same(digest, name.partition(".")[0])
    evidence.tables[digest] = data


def _sum(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    words = _words(files[f"sums/{name}"])
    digest = words_digest(words)
    _same(digest, name.partition(".")[0])
    evidence.sums[digest] = words


def _upload(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    evidence.uploads[Digest(name.partition(".")[0])] = _words(files[f"uploads/{name}"])


def _earlier(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    evidence.earlier[int(name)] = files[f"checkpoints/{name}"]


def _proof(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    evidence.proofs[int(name.partition(".")[0])] = files[f"proofs/{name}"]


def _inquiries(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    leaves = decode_batch(files[f"inquiries/{name}"])
    evidence.inquiries[int(name.partition(".")[0])] = leaves


def _epoch(evidence: Evidence, name: str, files: Mapping[str, bytes]) -> None:
    record = files[f"epochs/{name}"]
    document = parse_document(EpochRecord, record).document
    digest = hash_with(Label.EPOCH, document)
    _same(digest, name.partition(".")[0])
    evidence.epochs[digest] = record


_READERS: Mapping[str, Callable[[Evidence, str, Mapping[str, bytes]], None]] = {
    "manifests": _manifest,
    "schemas": _schema,
    "models": _model,
    "audits": _audit,
    "tables": _table,
    "sums": _sum,
    "uploads": _upload,
    "checkpoints": _earlier,
    "proofs": _proof,
    "inquiries": _inquiries,
    "epochs": _epoch,
}


def _same(seen: str, name: str) -> None:
    if seen != name:
        raise DecodeError(f"its content has the digest {seen}")


def _words(data: bytes) -> Words:
    if not data or len(data) % _WORD_BYTES:
        raise DecodeError(f"{len(data)} bytes are no words")
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)
