"""The manifests of the coordinator's database, and the signatures gathered for each."""

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from consortium.ids import Digest, PartnerId
from consortium.messages import ManifestBundle, Signed
from coordinator.database import Database, put
from coordinator.log_storage import LogStore
from coordinator.schema import META

_MANIFESTS = sa.Table(
    "manifests",
    META,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("schema", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_SIGNATURES = sa.Table(
    "manifest_signatures",
    META,
    sa.Column("digest", sa.String(64), sa.ForeignKey("manifests.digest"), primary_key=True),
    sa.Column("member", sa.String(32), primary_key=True),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)


class ManifestStore:
    """Manifests; every method is one transaction and raises StorageError."""

    def __init__(self, database: Database, log: LogStore) -> None:
        self._database, self._log = database, log

    def add(self, digest: Digest, version: int, bundle: ManifestBundle, at: int) -> None:
        """Keep a draft without signatures."""
        row = {"digest": digest, "version": version, "at": at}
        self._database.write(_MANIFESTS, row | {"body": bundle.body, "schema": bundle.schema})

    def digests(self) -> tuple[Digest, ...]:
        """Digests of all manifests, newest version first."""
        query = sa.select(_MANIFESTS.c.digest).order_by(
            _MANIFESTS.c.version.desc(), _MANIFESTS.c.at.desc()
        )
        return tuple(Digest(row["digest"]) for row in self._database.all(query))

    def get(self, digest: Digest) -> ManifestBundle | None:
        """The manifest of that digest with the signatures gathered so far."""
        with self._database.transaction() as connection:
            found = sa.select(_MANIFESTS).where(_MANIFESTS.c.digest == digest)
            row = connection.execute(found).mappings().first()
            if row is None:
                return None
            signed = connection.execute(
                sa.select(_SIGNATURES)
                .where(_SIGNATURES.c.digest == digest)
                .order_by(_SIGNATURES.c.member)
            ).mappings()
            signatures = tuple(
                Signed(
                    digest=digest,
                    member=PartnerId(entry["member"]),
                    signature=entry["signature"],
                )
                for entry in signed
            )
        return ManifestBundle(body=row["body"], signatures=signatures, schema=row["schema"])

    def add_signature(self, signed: Signed, at: int, *, entries: Sequence[bytes] = ()) -> None:
        """Keep one member's signature over a manifest; a second one replaces the first.

        ``entries`` are appended to the log in the same transaction.
        """
        row = asdict(signed) | {"at": at}
        with self._database.transaction() as connection:
            self._log.append_within(connection, entries)
            put(connection, _SIGNATURES, row, replacing=("digest", "member"))
