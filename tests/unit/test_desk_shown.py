"""A history that an applicant shows: what is refused, by which rule, what a decision keeps."""

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.canonical import Label
from consortium.credit.attestation import (
    CauseClass,
    DpdBand,
    MonthsBand,
    SignedAttestation,
    UtilisationBand,
    attestation_bytes,
)
from consortium.credit.attested import FEATURES, AttestedFacts
from consortium.credit.facts import DecisionInput
from consortium.crypto.keys import Secret
from consortium.documents import document_of
from consortium.errors import (
    AttestationError,
    DecodeError,
    DomainError,
    OutOfOrderError,
    TransportError,
)
from consortium.ids import Digest, PartnerId, digest_of
from consortium.ledger.bodies import AttestationsListed, DecisionBatch, DecisionChallenge
from consortium.ledger.entries import from_jcs
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.sealed import Sameness
from partner_node.credit import storage_attested
from partner_node.credit.forms import application_of, with_attestation
from partner_node.credit.listing import publish_when_due
from partner_node.credit.sealing import Drawn, Sealer, SealPorts, answer_of
from partner_node.credit.storage import decisions
from partner_node.entry_book import EntryBook
from partner_node.loan_desk import Consent, Question, applicant_of, failure_of
from tests.credit_desk_house import CONSENTS, application, consent, desk, write_rules
from tests.credit_house import INPUT, NOW, TODAY
from tests.shown_house import (
    EPOCH,
    ISSUED,
    ISSUER,
    LENDER,
    PARTIES,
    PERSON,
    SOMEBODY,
    TAKES,
    THIRD,
    TOKENS,
    Issuer,
    Lender,
    form,
    lender,
    paper,
)

GOOD = paper()
PAPER = attestation_bytes(GOOD)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lender]:
    """As ``home``, for all that is refused: nothing of it may leave anything behind."""
    path = tmp_path_factory.mktemp("shown")
    issuer = Issuer(path)
    with lender(path) as made:
        issuer.issue(GOOD)
        data = issuer.publish()
        made.mirror(issuer.said())
        made.take(data)
        yield made
    issuer.close()


@pytest.fixture
def strict(begun: Lender) -> Iterator[Lender]:
    """The lender that refuses; what a test changed of its surroundings is undone."""
    tokens = begun.tokens
    yield begun
    begun.barred, begun.fails, begun.tokens = frozenset(), None, tokens


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    made = Issuer(tmp_path)
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path, issuer: Issuer) -> Iterator[Lender]:
    """A lender that has taken the issuer's list of today, which revokes nothing."""
    with lender(tmp_path) as made:
        issuer.issue(GOOD)
        data = issuer.publish()
        made.mirror(issuer.said())
        made.take(data)
        yield made


def refused(home: Lender, plain: object) -> str:
    """The rule by which a decision is refused; nobody was asked, nothing is kept."""
    with pytest.raises(AttestationError) as error:
        home.decide(plain)
    assert (home.scores.asked, home.scores.alone) == ([], [])
    with home.service.ports.store.reading() as connection:
        assert not decisions(connection)
    failure = failure_of(error.value)
    assert failure.code == "attestation"
    assert failure.text.startswith(f"{error.value.rule}: ")
    return error.value.rule


def kept(home: Lender, name: str) -> DecisionInput:
    return DecisionInput.from_bytes(home.service.decision(name).input)


def numbers(issuer: Issuer) -> list[int]:
    bodies = [from_jcs(one).body for one in issuer.said()]
    return [one.number for one in bodies if isinstance(one, AttestationsListed)]


# --- what is taken up -------------------------------------------------------------------------


def test_verified_history_is_scored_kept_and_made_again_to_the_byte(home: Lender) -> None:
    made = home.decide(form(PAPER))
    shown = home.scores.asked[0].shown
    assert shown is not None
    assert (shown.issuer, shown.features["attested_months"]) == (ISSUER, "25-60")
    facts = kept(home, made["id"]).attestation
    assert facts is not None
    assert (facts.digest, facts.scored, facts.number) == (GOOD.attestation.digest, True, 0)
    assert made["history"] == {"id": facts.digest, "scored": True}
    assert (
        home.service.replay(made["id"]).to_bytes()
        == json.dumps(
            made["decision"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
    )
    stored = home.service.decision(made["id"]).input
    for private in (
        PERSON.encode(),
        TOKENS[PERSON].hex().encode(),
        GOOD.signature.hex().encode(),
    ):
        assert private not in stored


@pytest.mark.slow
def test_audit_makes_a_decision_with_a_history_again_to_the_same_bytes(home: Lender) -> None:
    home.decide(form(PAPER))
    book = EntryBook(LENDER, PARTIES[LENDER].identity, now=lambda: NOW + 60)
    sealer = Sealer(
        SealPorts(
            store=home.service.ports.store,
            log=home.node.log,
            book=book,
            entropy=lambda: Secret(b"7" * 32),
            now=lambda: NOW + 60,
        )
    )
    assert sealer.seal().count == 1
    (data,) = home.node.log.said("decision.batch")
    batch = from_jcs(data).body
    assert isinstance(batch, DecisionBatch)
    leaf = Digest(leaf_hash(data).hex())
    drawn = Drawn(
        leaf=digest_of(b"challenge"),
        body=DecisionChallenge(batch=leaf, places=8, choice=digest_of(b"choice")),
        batch=batch,
    )
    answered = answer_of(home.service, LENDER, digest_of(b"code"), drawn)
    assert [one.outcome for one in answered.report.drawn] == [Sameness.EQUAL]
    for private in (PERSON.encode(), TOKENS[PERSON].hex().encode(), b"25-60"):
        assert private not in answered.report.to_bytes() + data


def test_history_is_kept_but_not_scored_where_the_lender_sees_arrears_itself(
    home: Lender,
) -> None:
    for standing in ({"dpd_now": 5}, {"stage": 2}):
        made = home.decide(form(PAPER, standing=standing))
        assert home.scores.asked[-1].shown is None
        facts = kept(home, made["id"]).attestation
        assert facts is not None
        assert not facts.scored


def test_decision_without_a_history_has_the_bytes_that_it_had_before_there_were_any(
    home: Lender,
) -> None:
    made = home.decide(application())
    assert b"attestation" not in home.service.decision(made["id"]).input
    assert "history" not in made


# --- attacks ----------------------------------------------------------------------------------


def test_history_of_another_person_is_refused(strict: Lender) -> None:
    assert refused(strict, form(PAPER, person=SOMEBODY)) == "person"


def test_history_of_another_epoch_is_refused(strict: Lender) -> None:
    strict.tokens = {PERSON: (EPOCH + 1, TOKENS[PERSON])}
    assert refused(strict, form(PAPER)) == "person"


def test_expired_history_is_refused(strict: Lender) -> None:
    short = attestation_bytes(paper(days=6))
    assert refused(strict, form(short)) == "expired"
    early = attestation_bytes(paper(issued_on=TODAY + timedelta(days=1)))
    assert refused(strict, form(early)) == "expired"


def test_revoked_history_is_refused(home: Lender, issuer: Issuer) -> None:
    issuer.issue(GOOD, revoked=True)
    data = issuer.publish()
    home.mirror(issuer.said())
    assert home.take(data).number == 1
    assert refused(home, form(PAPER)) == "revoked"


def test_history_of_an_unknown_issuer_is_refused(strict: Lender) -> None:
    unknown = attestation_bytes(paper(by=PartnerId("silo-09"), key=ISSUER))
    assert refused(strict, form(unknown)) == "issuer"
    signed_by_another = attestation_bytes(paper(key=THIRD))
    assert refused(strict, form(signed_by_another)) == "altered"


def test_history_of_an_issuer_whose_identity_was_revoked_is_refused(strict: Lender) -> None:
    strict.barred = frozenset({ISSUER})
    assert refused(strict, form(PAPER)) == "issuer"


def test_lenders_own_history_is_refused(strict: Lender) -> None:
    assert refused(strict, form(attestation_bytes(paper(by=LENDER)))) == "own"


def test_history_altered_in_one_byte_is_refused(strict: Lender) -> None:
    for place in range(0, len(PAPER), 29):
        altered = bytearray(PAPER)
        altered[place] ^= 1
        assert refused(strict, form(bytes(altered))) in {"altered", "form", "issuer"}


def test_history_longer_than_any_issuer_may_sign_is_refused(strict: Lender) -> None:
    one = replace(GOOD.attestation, expires_on=ISSUED + timedelta(days=91))
    signature = PARTIES[ISSUER].identity.sign(Label.ATTESTATION_SIGNATURE, document_of(one))
    data = attestation_bytes(SignedAttestation(attestation=one, signature=signature))
    assert refused(strict, form(data)) == "form"


def test_history_without_consent_to_it_is_refused(strict: Lender) -> None:
    consents = [consent(one) for one in CONSENTS]
    assert refused(strict, form(PAPER, consents=consents)) == "consent"
    withdrawn = consent("ATTESTATION", withdrawn_on=TODAY.isoformat())
    assert refused(strict, form(PAPER, consents=[*consents, withdrawn])) == "consent"


@pytest.mark.slow
def test_history_is_refused_by_a_policy_that_takes_none(tmp_path: Path) -> None:
    with lender(tmp_path, **{"[restart]": "[restart]"}) as plain:
        assert refused(plain, form(PAPER)) == "policy"


@pytest.mark.parametrize("name", FEATURES)
def test_plain_attested_fact_is_refused_at_every_door(name: str) -> None:
    with pytest.raises(AttestationError) as error:
        application_of(application(attributes={name: "0"}))
    assert error.value.rule == "plain"
    question = Question(
        person=PERSON, consent=Consent(reference="c-1"), attributes={name: "60+"}
    )
    with pytest.raises(AttestationError, match=name):
        applicant_of(question, NOW)


@pytest.mark.slow
def test_whose_history_it_is_must_be_known_before_anything_is_decided(home: Lender) -> None:
    home.fails = TransportError("no tokens in time")
    with pytest.raises(TransportError, match="person: "):
        home.decide(form(PAPER))
    assert home.scores.asked == []
    home.fails = None
    assert home.decide(form(PAPER))["history"]["scored"]


# --- lists ------------------------------------------------------------------------------------


def test_history_is_refused_without_a_list_and_with_one_that_is_too_old(
    tmp_path: Path, issuer: Issuer
) -> None:
    issuer.issue(GOOD)
    with lender(tmp_path) as made:
        assert refused(made, form(PAPER)) == "list"
        issuer.today = TODAY - timedelta(days=8)
        old = issuer.publish()
        made.mirror(issuer.said())
        made.take(old)
        assert refused(made, form(PAPER)) == "list"
        issuer.today = TODAY - timedelta(days=7)
        again = issuer.publish()
        assert again == old
        issuer.today = TODAY - timedelta(days=5)
        fresh = issuer.publish()
        made.mirror(issuer.said())
        made.take(fresh)
        write_rules(tmp_path, **{"[restart]": "[attestation]\nlist_days = 4\n\n[restart]"})
        assert refused(made, form(PAPER)) == "list"
        write_rules(tmp_path, **TAKES)
        assert made.decide(form(PAPER))["history"]["scored"]


def test_list_that_goes_back_is_not_taken(home: Lender, issuer: Issuer) -> None:
    first = issuer.publish()
    issuer.issue(GOOD, revoked=True)
    data = issuer.publish()
    home.mirror(issuer.said())
    home.take(data)
    with pytest.raises(AttestationError, match="goes back") as error:
        home.take(first)
    assert error.value.rule == "list"
    assert refused(home, form(PAPER)) == "revoked"


def test_list_that_the_log_does_not_say_is_not_taken(home: Lender, issuer: Issuer) -> None:
    issuer.issue(GOOD, revoked=True)
    data = issuer.publish()
    with pytest.raises(AttestationError, match="no list of number 1"):
        home.take(data)
    home.mirror(issuer.said())
    with pytest.raises(AttestationError, match="no list of number 1"):
        home.take(data, counted=1)
    altered = data.replace(GOOD.attestation.digest.encode(), b"0" * 64)
    with pytest.raises(AttestationError) as error:
        home.take(altered)
    assert error.value.rule == "altered"
    with pytest.raises(AttestationError) as error:
        home.take(b"{}")
    assert error.value.rule == "form"


@pytest.mark.slow
def test_list_is_said_once_and_again_after_three_days_or_a_revocation(
    issuer: Issuer,
) -> None:
    assert publish_when_due(issuer.ports) == 0
    issuer.issue(GOOD)
    assert publish_when_due(issuer.ports) == 1
    assert publish_when_due(issuer.ports) == 0
    issuer.today += timedelta(days=3)
    assert publish_when_due(issuer.ports) == 1
    issuer.issue(GOOD, revoked=True)
    assert publish_when_due(issuer.ports) == 1
    assert numbers(issuer) == [0, 1, 2]
    for data in issuer.said():
        assert GOOD.attestation.digest.encode() not in data


@pytest.mark.slow
def test_old_lists_are_swept_but_never_the_newest(issuer: Issuer) -> None:
    issuer.issue(GOOD)
    for _ in range(3):
        issuer.publish()
        issuer.today += timedelta(days=3)
    with issuer.store.transaction() as connection:
        gone = storage_attested.drop_lists(connection, issuer.today)
        assert gone == {"attestation_lists": 2}
        newest = storage_attested.newest_list(connection, ISSUER)
    assert newest is not None
    assert newest.number == 2


@pytest.mark.slow
def test_numbers_of_a_restored_database_go_on_where_the_log_is(
    tmp_path: Path, issuer: Issuer
) -> None:
    issuer.issue(GOOD)
    issuer.publish()
    issuer.store.close()
    (tmp_path / "issuer.db").unlink()
    again = Issuer(tmp_path)
    again.issue(GOOD)
    again.publish()
    assert numbers(again) == [0, 1]
    again.close()


# --- forms ------------------------------------------------------------------------------------

FACTS = st.builds(
    AttestedFacts,
    digest=st.just(Digest("ab" * 32)),
    issuer=st.just(ISSUER),
    issued_on=st.just(ISSUED),
    expires_on=st.just(ISSUED + timedelta(days=90)),
    months=st.sampled_from(MonthsBand),
    worst_dpd=st.sampled_from(DpdBand),
    utilisation=st.sampled_from(UtilisationBand),
    cause=st.sampled_from(CauseClass),
    listing=st.just(Digest("cd" * 32)),
    number=st.integers(0, 2**40),
    listed_on=st.dates(max_value=TODAY),
    scored=st.booleans(),
)


@settings(max_examples=25)
@given(st.none() | FACTS)
def test_input_with_a_history_has_one_form(shown: AttestedFacts | None) -> None:
    made = replace(INPUT, attestation=shown)
    data = made.to_bytes()
    assert DecisionInput.from_bytes(data) == made
    assert (b'"attestation"' in data) == (shown is not None)
    if shown is None:
        odd = data.replace(b',"catalogue"', b',"attestation":[],"catalogue"')
        with pytest.raises(DecodeError):
            DecisionInput.from_bytes(odd)


def test_history_that_was_not_valid_on_its_day_is_in_no_input() -> None:
    shown = AttestedFacts(
        digest=Digest("ab" * 32),
        issuer=ISSUER,
        issued_on=ISSUED,
        expires_on=TODAY,
        months=MonthsBand.TO_6,
        worst_dpd=DpdBand.NONE,
        utilisation=UtilisationBand.NO_LIMIT,
        cause=CauseClass.OTHER,
        listing=Digest("cd" * 32),
        number=0,
        listed_on=TODAY,
        scored=True,
    )
    with pytest.raises(DomainError, match="not valid on the day"):
        replace(INPUT, attestation=shown)
    good = replace(shown, expires_on=TODAY + timedelta(days=1))
    with pytest.raises(DomainError, match="future"):
        replace(INPUT, attestation=replace(good, listed_on=TODAY + timedelta(days=1)))


@settings(max_examples=20)
@given(st.binary(max_size=600))
def test_paper_in_an_application_is_the_paper(data: bytes) -> None:
    carried = with_attestation(json.dumps(application()).encode(), data)
    assert application_of(json.loads(carried)).attestation == data


@settings(max_examples=20)
@given(st.text(max_size=80) | st.integers() | st.lists(st.text(max_size=3)))
def test_what_is_no_base64_is_refused(value: object) -> None:
    try:
        found = application_of(application(attestation=value)).attestation
    except DecodeError:
        return
    assert base64.b64encode(found).decode() == value


def test_second_paper_in_one_application_is_refused() -> None:
    with pytest.raises(DecodeError, match="already"):
        with_attestation(json.dumps(form(PAPER)).encode(), PAPER)


@pytest.mark.slow
def test_no_history_is_verified_where_no_node_serves(strict: Lender) -> None:
    with desk(strict.path) as service, pytest.raises(OutOfOrderError, match="no node serves"):
        asyncio.run(service.decide(form(PAPER), caller="loans"))
