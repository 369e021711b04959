"""A coordinator's directory with enrolled partners, and a node that speaks raw frames.

Real keys, certificates, database and gRPC on loopback; only the node's behaviour is the
test's own, so that it can be hostile.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consortium import codec, federation_codec
from consortium.canonical import Label
from consortium.codec import Body, Frame, StreamKind
from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.crypto.statements import enrolment_statement
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest, Policy
from consortium.messages import PROTOCOL_VERSION, EnrolmentRequest, Hello, Signed
from coordinator import commands, wiring
from coordinator.authority import SERVER_NAME, JoinToken
from coordinator.config import parse_policy
from coordinator.doors import Doors
from coordinator.server import Questions, Server
from coordinator.streams import Settings, StreamHub
from coordinator.wiring import Desk

DEADLINE_S = 10.0
PATIENT = Settings(silence_s=120.0)
"""Raw nodes send no heartbeats, and a busy machine is no silence."""
SCHEMA = Path(__file__).parents[1] / "examples" / "taiwan" / "schema.toml"
POLICY = parse_policy("[policy]\nmin_partners = 2\nvote_quorum = 2\n", "test")


def free_address() -> str:
    """A loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass
class NodeKeys:
    """The keys of one partner; ``certificate`` is PEM once enrolled."""

    partner: PartnerId
    identity: IdentityKey
    tls: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    certificate: bytes = b""

    @classmethod
    def of(cls, name: str) -> "NodeKeys":
        """Keys of a partner; the identity depends on the name only."""
        seed = Secret(name.encode().ljust(32, b"."))
        return cls(PartnerId(name), IdentityKey.from_secret(seed))

    @property
    def agreement(self) -> AgreementKey:
        """The agreement key; depends on the name only."""
        return AgreementKey.from_secret(Secret(self.partner.encode().ljust(32, b",")))

    @property
    def tls_pem(self) -> bytes:
        """The private TLS key."""
        return self.tls.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def csr(self) -> bytes:
        """A certificate request over the TLS key, DER."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.partner)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name)
        signed = request.sign(self.tls, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)

    def request(self, token: JoinToken, *, csr: bytes | None = None) -> EnrolmentRequest:
        """A signed enrolment request under that token."""
        unsigned = EnrolmentRequest(
            protocol_version=PROTOCOL_VERSION,
            partner=self.partner,
            token=token.secret.expose(),
            csr=self.csr() if csr is None else csr,
            identity=self.identity.public,
            agreement=self.agreement.public,
            witness=self.identity.public[::-1],
            signature=b"",
        )
        signature = self.identity.sign(Label.ENROLMENT, enrolment_statement(unsigned))
        return replace(unsigned, signature=signature)

    def sign(self, digest: Digest) -> Signed:
        """This partner's signature over a manifest."""
        signature = self.identity.sign(Label.MANIFEST_SIGNATURE, bytes.fromhex(digest))
        return Signed(digest=digest, member=self.partner, signature=signature)


@dataclass
class House:
    """One coordinator with two partners under a complete manifest."""

    desk: Desk
    nodes: dict[str, NodeKeys]
    manifest: Manifest

    @classmethod
    def build(
        cls,
        directory: Path,
        names: Sequence[str] = ("bank_a", "bank_b"),
        policy: Policy = POLICY,
    ) -> "House":
        """Initialise, enrol the partners, sign the first manifest."""
        birth = wiring.Birth(
            name="test", schema=SCHEMA, address=free_address(), enrolment=free_address()
        )
        wiring.initialise(directory, birth)
        desk = wiring.open_desk(directory)
        nodes = {name: NodeKeys.of(name) for name in names}
        for node in nodes.values():
            enrol(desk, node)
        house = cls(desk, nodes, desk.membership.propose("test", desk.schema, policy))
        house.sign()
        return house

    def sign(self) -> None:
        """All sign the newest manifest."""
        for node in self.nodes.values():
            self.desk.membership.sign(node.sign(self.manifest.digest), peer=node.partner)

    @asynccontextmanager
    async def serving(
        self, settings: Settings | None = None, *, attach: Callable[[StreamHub], object] = id
    ) -> AsyncIterator[StreamHub]:
        """Both doors open, until the block ends; ``attach`` may own the scoring streams."""
        desk = self.desk
        hub = StreamHub(desk.membership.greet, settings or PATIENT)
        attach(hub)
        server = Server(
            Doors(
                federation=desk.config.federation_address,
                enrolment=desk.config.enrolment_address,
                federation_public=desk.config.federation_public,
                tls=desk.tls,
            ),
            questions=Questions(desk.store, desk.membership, hub, now=wiring.now),
            membership=desk.membership,
            hub=hub,
            authority=desk.authority,
        )
        await server.start()
        try:
            yield hub
        finally:
            await server.stop()

    def channel(self, node: NodeKeys) -> grpc.aio.Channel:
        """A channel of that node to the federation door."""
        credentials = grpc.ssl_channel_credentials(
            self.desk.authority.certificate_pem, node.tls_pem, node.certificate
        )
        return grpc.aio.secure_channel(
            self.desk.config.federation_address,
            credentials,
            options=(
                ("grpc.ssl_target_name_override", SERVER_NAME),
                ("grpc.max_send_message_length", 64 << 20),
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )

    def hello(self, node: NodeKeys) -> Hello:
        """What an honest node says first."""
        return Hello(
            protocol_version=PROTOCOL_VERSION,
            software="test/1",
            partner=node.partner,
            manifest=self.manifest.digest,
            nonce=b"n" * 32,
        )


def enrol(desk: Desk, node: NodeKeys, families: tuple[str, ...] | None = None) -> JoinToken:
    """Issue a token and redeem it; the node then has its certificate."""
    families = families or desk.schema.families[:1]
    token = commands.issue_token(desk, node.partner, families, hours=1)
    der = desk.membership.enrol(node.request(token), desk.authority)
    certificate = x509.load_der_x509_certificate(der)
    node.certificate = certificate.public_bytes(serialization.Encoding.PEM)
    return token


@dataclass
class RawStream:
    """One stream of a node, frame by frame."""

    call: Any
    kind: StreamKind

    async def say(self, body: Body, number: int = 0) -> None:
        """Send one frame."""
        await self.call.write(codec.encode_up(self.kind, Frame(body, number)))

    async def hear(self) -> Frame | None:
        """The next frame that is no heartbeat; None at the end of the stream."""
        while True:
            data = await asyncio.wait_for(self.call.read(), DEADLINE_S)
            if not isinstance(data, bytes):
                return None
            frame = codec.decode_down(self.kind, data)
            if type(frame.body).__name__ != "Heartbeat":
                return frame

    @classmethod
    def open(
        cls, channel: grpc.aio.Channel, kind: StreamKind = StreamKind.TRAINING
    ) -> "RawStream":
        """A stream on which nothing was said yet."""
        return cls(channel.stream_stream(f"/{kind.service}/Connect")(), kind)


async def ask(channel: grpc.aio.Channel, method: str, request: bytes) -> bytes:
    """One question to the federation door."""
    call = channel.unary_unary(f"/{federation_codec.FEDERATION_SERVICE}/{method}")
    reply = await call(request, timeout=DEADLINE_S)
    assert isinstance(reply, bytes)
    return reply
