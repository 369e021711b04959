"""Who belongs: join tokens, members, their TLS keys and revoked identities.

Rules stand elsewhere: here a row is written or read, and that a token is used once is made sure
of by its key.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from consortium.ids import Digest, PartnerId
from consortium.manifest import Member, Role
from coordinator.database import Database, hold_log
from coordinator.schema import META

_MEMBERS = sa.Table(
    "members",
    META,
    sa.Column("partner", sa.String(32), primary_key=True),
    sa.Column("member_index", sa.Integer, nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("identity", sa.String(64), nullable=False),
    sa.Column("agreement", sa.String(64), nullable=False),
    sa.Column("witness", sa.String(64), nullable=False),
    sa.Column("tls_spki", sa.String(64), nullable=False),
    sa.Column("families", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_TOKENS = sa.Table(
    "tokens",
    META,
    sa.Column("secret_sha256", sa.String(64), primary_key=True),
    sa.Column("partner", sa.String(32), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("families", sa.Text, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger),
)
_TLS_KEYS = sa.Table(
    "tls_keys",
    META,
    sa.Column("spki", sa.String(64), primary_key=True),
    sa.Column("partner", sa.String(32), nullable=False, index=True),
    sa.Column("identity", sa.String(64), nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
)
"""TLS keys that an identity key has signed for in a renewal; until 0: the newest one."""
REVOCATIONS = sa.Table(
    "revocations",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("member", sa.String(32), nullable=False),
    sa.Column("identity", sa.String(64), nullable=False, index=True),
    sa.Column("actor", sa.String(32), nullable=False),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("effective", sa.Boolean, nullable=False),
    sa.Column("public_keys", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Voices about identities; ``effective``: with this one it was revoked."""
_REVOKED = sa.select(REVOCATIONS.c.identity).where(REVOCATIONS.c.effective)
_OUT = (
    sa.select(_MEMBERS.c.partner).where(_MEMBERS.c.identity.in_(_REVOKED)).order_by("partner")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """What is kept of a join token: never its secret."""

    secret_sha256: Digest
    partner: PartnerId
    role: Role
    families: tuple[str, ...]
    expires: int
    used_at: int | None = None


class MemberStore:
    """Members; every method is one transaction and raises StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_token(self, token: TokenRow) -> None:
        """Keep a new join token."""
        row = asdict(token) | {"families": json.dumps(token.families)}
        self._database.write(_TOKENS, row)

    def tokens(self) -> tuple[TokenRow, ...]:
        """All tokens ever issued."""
        return tuple(
            TokenRow(
                secret_sha256=Digest(row["secret_sha256"]),
                partner=PartnerId(row["partner"]),
                role=Role(row["role"]),
                families=tuple(json.loads(row["families"])),
                expires=row["expires"],
                used_at=row["used_at"],
            )
            for row in self._database.all(sa.select(_TOKENS))
        )

    def redeem(self, secret_sha256: Digest, member: Member, at: int) -> bool:
        """Use up the token and write the member, both or neither.

        The index given with ``member`` is ignored: a member that is known keeps its own, a
        new one gets the next (protocol 0.4). Returns False if the token was used before.
        """
        with self._database.transaction() as connection:
            hold_log(connection)  # two that join at once would get the same index
            used = connection.execute(
                _TOKENS.update()
                .where(_TOKENS.c.secret_sha256 == secret_sha256, _TOKENS.c.used_at.is_(None))
                .values(used_at=at)
            )
            if used.rowcount != 1:
                return False
            index = connection.scalar(
                sa.select(_MEMBERS.c.member_index).where(_MEMBERS.c.partner == member.id)
            )
            if index is None:
                last = connection.scalar(sa.select(sa.func.max(_MEMBERS.c.member_index)))
                index = (last or 0) + 1
            connection.execute(_MEMBERS.delete().where(_MEMBERS.c.partner == member.id))
            connection.execute(_MEMBERS.insert().values(**_member_row(member, index, at)))
            return True

    def all(self) -> tuple[Member, ...]:
        """All enrolled members, in order of enrolment."""
        query = sa.select(_MEMBERS).order_by(_MEMBERS.c.member_index)
        return tuple(_member(row) for row in self._database.all(query))

    def get(self, partner: PartnerId) -> Member | None:
        """The enrolled member of that id."""
        row = self._database.one(sa.select(_MEMBERS).where(_MEMBERS.c.partner == partner))
        return None if row is None else _member(row)

    def tls_keys(self, member: Member) -> Mapping[Digest, int]:
        """TLS keys that this identity has signed for, and until when; 0: the newest."""
        mine = (_TLS_KEYS.c.partner == member.id, _TLS_KEYS.c.identity == member.identity)
        rows = self._database.all(sa.select(_TLS_KEYS).where(*mine))
        return {Digest(row["spki"]): row["until"] for row in rows}

    def renew_tls(self, member: Member, spki: Digest, until: int) -> None:
        """Give a member another TLS key; the one it had is let in until then."""
        both = {member.tls_spki: until, spki: 0}
        with self._database.transaction() as connection:
            connection.execute(_TLS_KEYS.delete().where(_TLS_KEYS.c.spki.in_(list(both))))
            for key, end in both.items():
                row = {"spki": key, "partner": member.id, "identity": member.identity}
                connection.execute(_TLS_KEYS.insert().values(**row, until=end))
            connection.execute(
                _MEMBERS.update().where(_MEMBERS.c.partner == member.id).values(tls_spki=spki)
            )

    # --- revoked identities (protocol 2.7) ----------------------------------------------------

    def revoked(self) -> frozenset[str]:
        """Identity keys that were revoked, in hex."""
        with self._database.reading() as connection:
            return frozenset(connection.scalars(_REVOKED))

    def out(self) -> tuple[PartnerId, ...]:
        """Members whose enrolled identity is revoked, sorted."""
        with self._database.reading() as connection:
            return out_within(connection)

    def void_tokens(self, connection: sa.Connection, partner: PartnerId, at: int) -> None:
        """Use up what a partner's tokens have left, in a transaction of another part."""
        unused = (_TOKENS.c.partner == partner, _TOKENS.c.used_at.is_(None))
        connection.execute(_TOKENS.update().where(*unused).values(used_at=at))


def out_within(connection: sa.Connection) -> tuple[PartnerId, ...]:
    """Members whose enrolled identity is revoked, sorted."""
    return tuple(PartnerId(name) for name in connection.scalars(_OUT))


def _member(row: sa.RowMapping) -> Member:
    return Member(
        id=PartnerId(row["partner"]),
        index=row["member_index"],
        role=Role(row["role"]),
        identity=row["identity"],
        agreement=row["agreement"],
        witness=row["witness"],
        tls_spki=Digest(row["tls_spki"]),
        families=tuple(json.loads(row["families"])),
    )


def _member_row(member: Member, index: int, at: int) -> dict[str, object]:
    return {
        "partner": member.id,
        "member_index": index,
        "role": member.role.value,
        "identity": member.identity,
        "agreement": member.agreement,
        "witness": member.witness,
        "tls_spki": member.tls_spki,
        "families": json.dumps(member.families),
        "at": at,
    }
