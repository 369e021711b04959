"""Both sides over real TLS on loopback: real directories, doors and streams.

The hostile party is the coordinator as often as the node: each must hold against the other.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.canonical import Label, canonical_json
from consortium.codec import StreamKind
from consortium.crypto.keys import IdentityKey, Secret
from consortium.crypto.statements import enrolment_statement, welcome_statement
from consortium.errors import (
    CertificateError,
    DecodeError,
    DigestMismatchError,
    EnrolmentError,
    ManifestError,
    OutOfOrderError,
    RiskWeaveError,
    SignatureError,
    TransportError,
)
from consortium.ids import Digest, PartnerId, RunId
from consortium.messages import PROTOCOL_VERSION, EnrolmentRequest, Hello, Signed, Welcome
from coordinator.authority import Authority
from coordinator.streams import Settings, StreamHub
from partner_node import door, joining, wiring
from partner_node.door import Door
from partner_node.join_token import JoinToken, parse_token
from partner_node.keystore import write_file
from partner_node.link_ports import Pace
from tests.node_house import DEADLINE_S, Federation, Seen

ROOT = Path(__file__).resolve().parents[2]
BANK_A, BANK_B = PartnerId("bank_a"), PartnerId("bank_b")


def ask(hub: StreamHub, payload: bytes, partner: PartnerId = BANK_A) -> bytes:
    return hub.send(partner, payload, timeout_s=DEADLINE_S).result(DEADLINE_S)


def until_connected(hub: StreamHub, *names: str) -> None:
    assert hub.wait_for(lambda now: now == names, DEADLINE_S)


def request_of(
    node: wiring.Desk,
    token: JoinToken,
    *,
    csr: bytes | None = None,
    sign: Callable[[bytes], bytes] | None = None,
) -> EnrolmentRequest:
    """An enrolment request; honest but for what is replaced."""
    identity = node.keys.identity()
    bare = EnrolmentRequest(
        protocol_version=PROTOCOL_VERSION,
        partner=node.config.partner,
        token=token.secret.expose(),
        csr=csr or node.keys.certificate_request(node.config.partner),
        identity=identity.public,
        agreement=node.keys.agreement().public,
        witness=node.keys.witness().public,
        signature=b"",
    )
    statement = enrolment_statement(bare)
    signature = sign(statement) if sign else identity.sign(Label.ENROLMENT, statement)
    return replace(bare, signature=signature)


def log_says(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until a log line holds ``text``: the link logs in a thread of its own."""
    found = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                found.set()

    watch = Watch()
    logging.getLogger("partner_node").addHandler(watch)
    try:
        if not any(text in record.getMessage() for record in caplog.records):
            assert found.wait(DEADLINE_S), f"no log line says {text!r}"
    finally:
        logging.getLogger("partner_node").removeHandler(watch)


# --- enrolment (protocol 12.1) ----------------------------------------------------------------


def test_join_token_used_twice_is_refused_and_the_first_node_keeps_its_place(
    federation: Federation,
) -> None:
    token = federation.token("bank_a")
    thief = replace(federation.node("thief"), keys=federation.node("spare").keys)
    thief = replace(thief, config=replace(thief.config, partner=BANK_A))
    with federation.serving():
        joining.join(federation.node("bank_a"), token)
        with pytest.raises(EnrolmentError, match="join token refused"):
            joining.join(thief, token)
        node = wiring.open_desk(federation.root / "bank_a")
        with node.door() as coordinator:
            coordinator.check_health()


def test_join_token_past_its_hours_is_refused_by_both_sides(federation: Federation) -> None:
    path = federation.token("bank_a", hours=0)
    node, token = federation.node("bank_a"), parse_token(path.read_text())
    with federation.serving():
        with pytest.raises(EnrolmentError, match="expired"):
            joining.join(node, path)
        with pytest.raises(EnrolmentError, match="join token refused"):
            door.enrol(token.enrolment, token.authority, request_of(node, token))


def test_join_token_for_another_partner_is_refused_by_both_sides(
    federation: Federation,
) -> None:
    path = federation.token("bank_b")
    node, token = federation.node("bank_a"), parse_token(path.read_text())
    with federation.serving():
        with pytest.raises(EnrolmentError, match="is for bank_b, this node is bank_a"):
            joining.join(node, path)
        with pytest.raises(EnrolmentError, match="join token refused"):
            door.enrol(token.enrolment, token.authority, request_of(node, token))


def test_enrolment_whose_request_was_tampered_with_is_refused_and_costs_no_token(
    federation: Federation,
) -> None:
    path = federation.token("bank_a")
    node, token = federation.node("bank_a"), parse_token(path.read_text())
    stranger = IdentityKey.from_secret(Secret(b"s" * 32))
    csr = node.keys.certificate_request(BANK_A)
    bad_csr = csr[:-1] + bytes([csr[-1] ^ 1])
    with federation.serving():
        request = request_of(node, token, csr=bad_csr)
        with pytest.raises(EnrolmentError):
            door.enrol(token.enrolment, token.authority, request)
        request = request_of(
            node, token, sign=lambda text: stranger.sign(Label.ENROLMENT, text)
        )
        with pytest.raises(SignatureError):
            door.enrol(token.enrolment, token.authority, request)
        joining.join(node, path)


def test_enrolment_door_of_another_authority_is_refused(federation: Federation) -> None:
    token = parse_token(federation.token("bank_a").read_text())
    other = Authority(Authority.create("other", now=wiring.now()))
    node = federation.node("bank_a")
    with federation.serving(), pytest.raises(CertificateError, match="not of the authority"):
        door.enrol(token.enrolment, other.certificate, request_of(node, token))


def test_certificate_from_enrolment_over_another_key_is_not_kept(
    federation: Federation,
) -> None:
    node, spare = federation.node("bank_a"), federation.node("spare")
    authority = federation.desk.authority
    csr = spare.keys.certificate_request(BANK_A)
    issued = authority.issue_partner(BANK_A, csr, now=wiring.now())
    with pytest.raises(CertificateError, match="over another key"):
        node.keys.save_certificate(issued, authority.certificate)
    assert node.keys.certificate_until(BANK_A) is None


def test_token_survives_a_coordinator_that_is_not_there(federation: Federation) -> None:
    node, token = federation.node("bank_a"), federation.token("bank_a")
    with pytest.raises(TransportError):
        joining.join(node, token)
    with federation.serving():
        joining.join(node, token)


# --- certificates (protocol 2.5) --------------------------------------------------------------


def test_node_under_a_certificate_of_another_authority_is_not_let_in(
    federation: Federation,
) -> None:
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        other = Authority(Authority.create("other", now=wiring.now()))
        csr = node.keys.certificate_request(BANK_A)
        node.keys.save_certificate(
            other.issue_partner(BANK_A, csr, now=wiring.now()), other.certificate
        )
        dial = node.dial()
        root = federation.desk.authority.certificate_pem
        forged = replace(dial, tls=replace(dial.tls, authority=root))
        with Door(forged) as coordinator, pytest.raises(RiskWeaveError):
            coordinator.list_models()
        assert hub.connected() == ()


def test_expired_certificate_is_refused_by_the_node_itself_and_by_the_door(
    federation: Federation,
) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
        node, authority = federation.nodes["bank_a"], federation.desk.authority
        csr = node.keys.certificate_request(BANK_A)
        before = wiring.now() - 2 * 365 * 86400
        valid = node.dial()
        issued = authority.issue_partner(BANK_A, csr, now=before)
        node.keys.save_certificate(issued, authority.certificate)
        with pytest.raises(CertificateError, match="expired on"):
            node.dial()
        pem = node.config.directory / "keys" / "node.pem"
        expired = replace(valid, tls=replace(valid.tls, certificate=pem.read_bytes()))
        with Door(expired) as coordinator, pytest.raises(RiskWeaveError):
            coordinator.list_models()


def test_certificate_that_is_not_in_the_manifest_gets_no_stream(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        pin = federation.pin_of(federation.nodes["bank_a"])
        late = federation.join("late")
        with late.door() as coordinator:
            with pytest.raises(CertificateError):
                coordinator.list_models()
            coordinator.fetch_manifest()
        with federation.linked(late, pin=pin) as seen:
            log_says(caplog, "certificate refused")
            assert not seen.both_up()
        assert hub.connected() == ()


# --- the manifest (protocol 2.3, 2.4) ---------------------------------------------------------


def test_node_does_not_work_before_everybody_has_signed(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    with federation.serving() as hub:
        nodes = [federation.join(name) for name in ("bank_a", "bank_b")]
        manifest = federation.propose()
        joining.trust(nodes[0], joining.proposed(nodes[0], manifest.digest))
        with federation.linked(nodes[0]) as seen:
            log_says(caplog, "bank_b has not signed")
            assert hub.connected() == ()
            joining.trust(nodes[1], joining.proposed(nodes[1], manifest.digest))
            seen.wait(Seen.both_up)
        nodes[0].pinned()


def test_second_manifest_is_refused_until_the_operator_trusts_it(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        with federation.linked(node) as seen:
            seen.wait(Seen.both_up)
            second = federation.propose()
            for other in federation.nodes.values():
                with other.door() as coordinator:
                    coordinator.sign_manifest(signed_by(other, second.digest), b"")
            seen.wait(lambda now: min(now.downs.values()) == 1)
            log_says(caplog, "manifest refused")
            assert hub.connected() == ()
            assert node.pinned().digest != second.digest
            joining.trust(node, joining.proposed(node, second.digest))
            seen.wait(Seen.both_up)
            until_connected(hub, BANK_A)


def signed_by(node: wiring.Desk, digest: Digest) -> Signed:
    signature = node.keys.identity().sign(Label.MANIFEST_SIGNATURE, bytes.fromhex(digest))
    return Signed(digest=digest, member=node.config.partner, signature=signature)


def test_manifest_that_skips_the_pinned_one_is_signed_only_when_the_operator_insists(
    federation: Federation,
) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        drafts = [federation.propose() for _ in range(2)]
        joining.trust(node, joining.proposed(node, drafts[0].digest))
        skipping = joining.proposed(node, drafts[1].digest)
        with pytest.raises(ManifestError, match="--replace"):
            joining.trust(node, skipping)
        stored = federation.desk.store.manifests.get(skipping.digest)
        assert stored is not None
        assert stored.signatures == ()
        assert node.known_pin().digest == drafts[0].digest
        joining.trust(node, skipping, replace_pinned=True)
        assert node.known_pin().digest == skipping.digest


def test_manifest_other_than_the_one_asked_for_is_refused(federation: Federation) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        with pytest.raises(ManifestError):
            joining.proposed(node, Digest("00" * 32))


def test_manifest_that_lists_another_key_for_this_node_is_not_signed(
    federation: Federation,
) -> None:
    with federation.serving():
        nodes = [federation.join(name) for name in ("bank_a", "bank_b")]
        federation.propose()
        # Seen from the node, its own key having changed is the manifest's having changed.
        for name in ("identity", "agreement", "witness"):
            keys = nodes[1].config.directory / "keys" / f"{name}.key"
            write_file(nodes[0].config.directory / "keys" / f"{name}.key", keys.read_bytes())
        with pytest.raises(ManifestError, match="another identity key for bank_a"):
            joining.proposed(nodes[0], None)


# --- the greeting (protocol 12.2) -------------------------------------------------------------


def test_coordinator_without_the_manifests_identity_key_is_refused(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    impostor = IdentityKey.from_secret(Secret(b"i" * 32))

    def greet(hello: Hello, peer: PartnerId, kind: StreamKind) -> Welcome:
        statement = welcome_statement(hello.nonce, hello.manifest, peer, kind)
        return Welcome(
            protocol_version=PROTOCOL_VERSION,
            software="impostor/1",
            manifest=hello.manifest,
            signature=impostor.sign(Label.HELLO, statement),
        )

    with federation.serving():
        federation.found("bank_a", "bank_b")
    with federation.serving(greet=greet), federation.linked(federation.nodes["bank_a"]) as seen:
        log_says(caplog, "signature does not verify")
        assert seen.ups[StreamKind.TRAINING] == 0
    loud = [r for r in caplog.records if "does not verify" in r.getMessage()]
    assert all(record.levelno == logging.ERROR for record in loud)


def test_welcome_of_an_earlier_stream_is_refused_on_the_next(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[Welcome] = []

    def greet(hello: Hello, peer: PartnerId, kind: StreamKind) -> Welcome:
        honest = federation.desk.membership.greet(hello, peer, kind)
        kept.append(honest)
        return kept[0]

    with federation.serving():
        federation.found("bank_a", "bank_b")
    with federation.serving(greet=greet), federation.linked(federation.nodes["bank_a"]) as seen:
        seen.wait(lambda now: sum(now.ups.values()) == 1)
        log_says(caplog, "signature does not verify")


def test_coordinator_under_another_manifest_is_refused_by_the_node(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    def greet(hello: Hello, peer: PartnerId, kind: StreamKind) -> Welcome:
        return replace(
            federation.desk.membership.greet(hello, peer, kind), manifest=Digest("00" * 32)
        )

    with federation.serving():
        federation.found("bank_a", "bank_b")
    with federation.serving(greet=greet), federation.linked(federation.nodes["bank_a"]) as seen:
        log_says(caplog, "the coordinator works under 00000000")
        assert seen.ups[StreamKind.TRAINING] == 0


def test_coordinator_of_another_protocol_version_is_refused(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    def greet(hello: Hello, peer: PartnerId, kind: StreamKind) -> Welcome:
        honest = federation.desk.membership.greet(hello, peer, kind)
        return replace(honest, protocol_version=PROTOCOL_VERSION + 1)

    with federation.serving():
        federation.found("bank_a", "bank_b")
    with federation.serving(greet=greet), federation.linked(federation.nodes["bank_a"]) as seen:
        log_says(caplog, "peer speaks protocol version 2, this side speaks 1")
        assert seen.ups[StreamKind.TRAINING] == 0


def test_node_of_another_protocol_version_is_refused(
    federation: Federation,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        monkeypatch.setattr("partner_node.link.PROTOCOL_VERSION", PROTOCOL_VERSION + 1)
        with federation.linked(federation.nodes["bank_a"]):
            log_says(caplog, "unknown protocol version")
            assert hub.connected() == ()


# --- the streams (protocol 12.3) --------------------------------------------------------------


def test_question_and_answer_pass_and_a_slow_one_does_not_delay_the_next(
    federation: Federation,
) -> None:
    release = asyncio.Event()

    async def handle(payload: bytes) -> bytes:
        if payload == b"slow":
            await release.wait()
        return payload.upper()

    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        with (
            federation.linked(federation.nodes["bank_a"], handle),
            federation.linked(federation.nodes["bank_b"]),
        ):
            until_connected(hub, BANK_A, BANK_B)
            slow = hub.send(BANK_A, b"slow", timeout_s=DEADLINE_S)
            assert ask(hub, b"quick") == b"QUICK"
            assert ask(hub, b"hello", BANK_B) == b"echo hello"
            assert not slow.done()
            federation.loop._loop.call_soon_threadsafe(release.set)
            assert slow.result(DEADLINE_S) == b"SLOW"


def test_question_that_the_node_cannot_answer_fails_at_once_and_the_node_comes_back(
    federation: Federation,
) -> None:
    async def handle(payload: bytes) -> bytes:
        if payload == b"garbage":
            raise DecodeError("row 17 holds 4711")
        return payload

    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        with federation.linked(federation.nodes["bank_a"], handle) as seen:
            until_connected(hub, BANK_A)
            with pytest.raises(TransportError) as caught:
                ask(hub, b"garbage")
            assert "4711" not in str(caught.value)
            seen.wait(lambda now: now.ups[StreamKind.TRAINING] == 2)
            until_connected(hub, BANK_A)
            assert ask(hub, b"again") == b"again"


def test_second_stream_of_a_partner_replaces_the_first_and_fails_its_waiters(
    federation: Federation,
) -> None:
    async def never(_payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    patient = Pace(first_wait=DEADLINE_S, longest_wait=DEADLINE_S, farewell=0.5)
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        node = federation.nodes["bank_a"]
        with federation.linked(node, never, pace=patient) as first:
            until_connected(hub, BANK_A)
            waiting = hub.send(BANK_A, b"?", timeout_s=DEADLINE_S)
            with federation.linked(node, pace=patient):
                with pytest.raises(TransportError, match="newer stream"):
                    waiting.result(DEADLINE_S)
                first.wait(lambda now: now.downs[StreamKind.TRAINING] == 1)
                assert ask(hub, b"new") == b"echo new"


def test_frame_over_the_limit_does_not_reach_the_node_and_its_sender_is_told(
    federation: Federation,
) -> None:
    over = (StreamKind.TRAINING.limit) + 1
    seen_payloads: list[int] = []

    async def handle(payload: bytes) -> bytes:
        seen_payloads.append(len(payload))
        return payload[:10]

    with federation.serving(settings=Settings(training_limit=4 * over)) as hub:
        federation.found("bank_a", "bank_b")
        with federation.linked(federation.nodes["bank_a"], handle):
            until_connected(hub, BANK_A)
            with pytest.raises(TransportError):
                ask(hub, bytes(over))
            until_connected(hub, BANK_A)
            assert ask(hub, b"small") == b"small"
    assert seen_payloads == [5]


def test_answer_over_the_limit_does_not_leave_the_node(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(_payload: bytes) -> bytes:
        return bytes(StreamKind.TRAINING.limit + 1)

    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        with federation.linked(federation.nodes["bank_a"], handle):
            until_connected(hub, BANK_A)
            with pytest.raises(TransportError):
                ask(hub, b"?")
            log_says(caplog, "is over the limit")


def test_coordinator_that_falls_silent_is_left(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    mute = Settings(heartbeat_s=3600.0, silence_s=3600.0)
    watchful = replace(Pace(), heartbeat=0.05, silence=0.2, farewell=0.1)
    with federation.serving(settings=mute):
        federation.found("bank_a", "bank_b")
        with federation.linked(federation.nodes["bank_a"], pace=watchful):
            log_says(caplog, "nothing heard for 0.2 s")


def test_node_that_stops_says_goodbye_and_is_gone_at_once(federation: Federation) -> None:
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        with federation.linked(federation.nodes["bank_a"]) as seen:
            seen.wait(Seen.both_up)
            until_connected(hub, BANK_A)
        until_connected(hub)
        assert hub.scoring_connected() == ()


def test_coordinator_that_stops_says_goodbye_and_nodes_dial_again(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
    with ExitStack() as stack:
        with federation.serving() as hub:
            seen = stack.enter_context(federation.linked(federation.nodes["bank_a"]))
            seen.wait(Seen.both_up)
            until_connected(hub, BANK_A)
        seen.wait(lambda now: min(now.downs.values()) == 1)
        log_says(caplog, "the coordinator stops; dial again")
        with federation.serving() as hub:
            seen.wait(Seen.both_up)
            until_connected(hub, BANK_A)


def test_log_of_the_link_holds_no_payload(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with federation.serving() as hub:
        federation.found("bank_a", "bank_b")
        with federation.linked(federation.nodes["bank_a"]):
            until_connected(hub, BANK_A)
            ask(hub, b"planted-4711")
    assert "planted-4711" not in caplog.text


# --- single questions -------------------------------------------------------------------------


def test_health_service_tells_a_node_that_the_coordinator_serves(
    federation: Federation,
) -> None:
    with federation.serving():
        federation.found("bank_a", "bank_b")
        with federation.nodes["bank_a"].door() as coordinator:
            coordinator.check_health()
    with federation.nodes["bank_a"].door() as coordinator, pytest.raises(TransportError):
        coordinator.check_health()


def test_model_with_a_wrong_digest_is_refused(federation: Federation) -> None:
    run, version = RunId("ab" * 16), Digest("01" * 32)
    document = canonical_json({"type": "riskweave/model/v1", "forged": "yes"})
    federation.desk.store.models.add(version, run, document, wiring.now())
    with federation.serving():
        federation.found("bank_a", "bank_b")
        with federation.nodes["bank_a"].door() as coordinator:
            assert [entry.version for entry in coordinator.list_models()] == [version]
            with pytest.raises(DigestMismatchError):
                coordinator.fetch_model(version)
            with pytest.raises(OutOfOrderError):
                coordinator.fetch_model(Digest("02" * 32))


# --- a coordinator killed ---------------------------------------------------------------------


def start_coordinator(directory: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "riskweave", "coordinator", "serve", str(directory)],
        cwd=ROOT,
        env=os.environ | {"RISKWEAVE_LOG": "ERROR"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("serving")
    return process


def test_nodes_are_back_within_five_seconds_of_a_killed_coordinators_return(
    federation: Federation,
) -> None:
    directory = federation.desk.config.directory
    process = start_coordinator(directory)
    try:
        federation.found("bank_a", "bank_b")
        with federation.linked(federation.nodes["bank_a"], pace=Pace()) as seen:
            seen.wait(Seen.both_up)
            process.send_signal(signal.SIGKILL)
            process.wait(DEADLINE_S)
            seen.wait(lambda now: min(now.downs.values()) == 1)
            process = start_coordinator(directory)
            served = time.monotonic()
            seen.wait(Seen.both_up, 5.0)
            assert time.monotonic() - served < 5.0
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
