"""A federation that makes keys and asks for tokens, its coordinator hostile on demand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from consortium.crypto.keys import AgreementKey, IdentityKey
from consortium.documents import document_of
from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.identity.ceremony import EpochFacts, EpochShare, Holding, install
from consortium.identity.epoch import Complained, Confirmed, EpochMachine
from consortium.identity.epoch_steps import EpochOffer, record_of
from consortium.identity.evaluation import OprfClient, OprfParty, OprfServer, OprfTask
from consortium.ids import Digest, PartnerId, PersonToken, RequestId
from consortium.inquiries import OprfReply
from consortium.manifest import Manifest, Member, Role, ScoringPolicy
from tests.secagg_house import POLICY, Party, digest, secret_of

EPOCH = 1
REQUEST = RequestId("5a" * 16)

Relay = Callable[[str, PartnerId, list[bytes]], list[bytes]]
"""(step, to whom, documents) -> what the coordinator shows instead."""


def faithful(step: str, to: PartnerId, documents: list[bytes]) -> list[bytes]:
    """A coordinator that shows everybody what it was sent."""
    del step, to
    return documents


def names_of(count: int) -> tuple[PartnerId, ...]:
    return tuple(PartnerId(f"bank_{index:02d}") for index in range(1, count + 1))


def manifest_of(
    names: Sequence[PartnerId], *, left: Sequence[PartnerId] = (), version: int = 1
) -> Manifest:
    """Indices by the number in the name: nobody else gets them when one leaves."""
    partners = [
        replace(Party(name).member(int(name[-2:])), active=name not in left)
        for name in sorted({*names, *left})
    ]
    coordinator = Member(
        id=PartnerId("coordinator"),
        index=65_535,
        role=Role.COORDINATOR,
        identity=IdentityKey.from_secret(secret_of("coordinator")).public.hex(),
        agreement=AgreementKey.from_secret(secret_of("coordinator")).public.hex(),
        witness="",
        tls_spki=digest("coordinator"),
        families=(),
    )
    return Manifest(
        federation="ledger-bridge",
        version=version,
        previous=None,
        not_before=0,
        schema=digest("schema"),
        members=(*partners, coordinator),
        policy=replace(POLICY, scoring=ScoringPolicy(epoch=EPOCH)),
    )


def holding_of(holdings: Mapping[PartnerId, Holding], name: PartnerId) -> Holding | None:
    return holdings.get(name)


@dataclass
class Ceremony:
    """One attempt, step by step; each step keeps what every member signed."""

    manifest: Manifest
    attempt: int = 1
    dealers: tuple[PartnerId, ...] | None = None
    previous: Digest | None = None
    record: bytes = b""
    holdings: Mapping[PartnerId, Holding] = field(default_factory=dict)
    relay: Relay = faithful
    tag: str = ""

    def __post_init__(self) -> None:
        self.names = tuple(member.id for member in self.manifest.partners)
        self.machines = {name: EpochMachine(self.facts(name)) for name in self.names}
        self.commits: dict[PartnerId, bytes] = {}
        self.reveals: dict[PartnerId, bytes] = {}
        self.confirmed: dict[PartnerId, Confirmed | Complained] = {}

    def facts(self, name: PartnerId) -> EpochFacts:
        party = Party(name)
        return EpochFacts(
            manifest=self.manifest,
            member=name,
            identity=party.identity,
            agreement=party.agreement,
            secret=secret_of(f"{name} epoch {EPOCH} attempt {self.attempt} {self.tag}"),
            holding=self.holdings.get(name),
        )

    @property
    def offer(self) -> EpochOffer:
        return EpochOffer(
            manifest=self.manifest.digest,
            epoch=EPOCH,
            attempt=self.attempt,
            dealers=self.names if self.dealers is None else self.dealers,
            previous=self.previous,
        )

    def offered(self) -> list[bytes]:
        return [document_of(self.offer), *([self.record] if self.record else [])]

    def _shown(
        self, step: str, name: PartnerId, documents: Mapping[PartnerId, bytes]
    ) -> list[bytes]:
        return self.relay(step, name, [documents[one] for one in sorted(documents)])

    def commit(self) -> None:
        for name, machine in self.machines.items():
            self.commits[name] = machine.on_offer(self.relay("commit", name, self.offered()))

    def reveal(self) -> None:
        for name, machine in self.machines.items():
            self.reveals[name] = machine.on_commits(self._shown("reveal", name, self.commits))

    def confirm(self) -> None:
        for name in self.names:
            self.confirm_one(name)

    def confirm_one(self, name: PartnerId) -> Confirmed | Complained:
        shown = self._shown("confirm", name, self.reveals)
        self.confirmed[name] = self.machines[name].on_reveals(shown)
        return self.confirmed[name]

    def share(self, name: PartnerId) -> EpochShare:
        confirmed = self.confirmed[name]
        assert isinstance(confirmed, Confirmed)
        return confirmed.share

    def finish(self) -> dict[PartnerId, Holding]:
        """Confirm and install; what every member then holds."""
        documents = [self.confirmed[name].document for name in self.names]
        self.signed = record_of(documents, self.offer, self.manifest)
        return {
            name: Holding(key=machine.on_record(self.signed), share=self.share(name))
            for name, machine in self.machines.items()
        }

    def run(self) -> dict[PartnerId, Holding]:
        self.commit()
        self.reveal()
        self.confirm()
        return self.finish()


def restarted(ceremony: Ceremony, name: PartnerId) -> Holding:
    """A member that was killed after it confirmed: the share is from its store."""
    return install(ceremony.signed, ceremony.manifest, ceremony.share(name))


def party(manifest: Manifest, name: PartnerId, holding: Holding) -> OprfParty:
    return OprfParty(
        manifest=manifest, member=name, identity=Party(name).identity, holding=holding
    )


@dataclass
class KeyHolders:
    """Partners with an epoch's shares, asking each other for tokens."""

    manifest: Manifest
    holdings: Mapping[PartnerId, Holding]

    @classmethod
    def of(cls, count: int) -> "KeyHolders":
        manifest = manifest_of(names_of(count))
        return cls(manifest, Ceremony(manifest).run())

    def party(self, name: PartnerId) -> OprfParty:
        return party(self.manifest, name, self.holdings[name])

    def client(self, name: PartnerId) -> OprfClient:
        return OprfClient(self.party(name))

    def server(self, name: PartnerId) -> OprfServer:
        return OprfServer(self.party(name))

    def ask(
        self, asker: PartnerId, inputs: Sequence[bytes], servers: Sequence[PartnerId]
    ) -> OprfTask:
        return self.client(asker).ask(
            inputs,
            servers=tuple(sorted(servers)),
            purpose="load",
            request=REQUEST,
            entropy=secret_of(f"blinding of {asker} {len(inputs)} {inputs[0]!r}"),
        )

    def replies(self, task: OprfTask) -> list[OprfReply]:
        return [
            self.server(name).answer(task.request, secret_of(f"proof {name}"))
            for name in task.request.servers
            if name != task.request.requester
        ]

    def tokens(
        self, asker: PartnerId, inputs: Sequence[bytes], servers: Sequence[PartnerId]
    ) -> list[PersonToken]:
        task = self.ask(asker, inputs, servers)
        return self.client(asker).finish(task, self.replies(task))


def reason_of(run: Callable[[], object]) -> ScoreRefusal:
    """The code with which ``run`` is refused."""
    try:
        run()
    except ScoreRefusalError as error:
        return error.reason
    raise AssertionError("it was not refused")
