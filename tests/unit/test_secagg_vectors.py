"""The masking core against vectors of an independent program, ``vectors/make_secagg.py``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consortium.canonical import canonical_json
from consortium.crypto.keys import AgreementKey, IdentityKey
from consortium.crypto.pairwise import ephemeral_key
from consortium.documents import parse_document
from consortium.ids import PartnerId
from consortium.messages import PlanAccepted, SumRequest
from consortium.secagg.chain import Link, link
from consortium.secagg.context import context_of, first_head, next_head
from consortium.secagg.joins import seed_commitment, sign_acceptance, verify_acceptance
from consortium.secagg.partner import PartnerFacts, PartnerMachine
from tests.secagg_house import Federation, digest, secret_of

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "secagg.json").read_text()
)
NAMES = tuple(PartnerId(name) for name in VECTORS["members"])
REQUEST = parse_document(SumRequest, canonical_json(VECTORS["request"]))
HOUSE = Federation(NAMES)


class PinnedManifest:
    """A manifest whose digest is the vectors'; members and keys are the house's."""

    digest = digest("manifest")
    partners = HOUSE.manifest.partners
    member = HOUSE.manifest.member


def machine_of(name: PartnerId) -> PartnerMachine:
    return PartnerMachine(
        PartnerFacts(
            manifest=PinnedManifest(),  # type: ignore[arg-type]
            member=name,
            identity=IdentityKey.from_secret(secret_of(f"identity {name}")),
            agreement=AgreementKey.from_secret(secret_of(f"agreement {name}")),
            seed=secret_of(f"seed {name}"),
            length=VECTORS["length"],
            count=VECTORS["members"][name]["count"],
            links={one: Link(0, VECTORS["members"][one]["chain_head"]) for one in NAMES},
        )
    )


def test_context_and_chain_of_closed_sums() -> None:
    head = first_head(REQUEST.run, digest("plan"))
    assert REQUEST.head == head
    assert context_of(REQUEST, digest("manifest")) == VECTORS["context"]
    total = np.array(VECTORS["total"])
    assert next_head(head, VECTORS["joined"], total) == VECTORS["next_head"]


@pytest.mark.parametrize("name", NAMES)
def test_commitments_and_links(name: PartnerId) -> None:
    expected, seed = VECTORS["members"][name], secret_of(f"seed {name}")
    length = VECTORS["length"]
    assert link(seed, length, 0) == expected["chain_head"]
    assert link(seed, length, expected["count"]) == expected["link"]
    assert ephemeral_key(seed, VECTORS["context"]).public.hex() == expected["ephemeral"]
    bare = PlanAccepted(
        plan=digest("plan"),
        member=name,
        seed_commitment=seed_commitment(REQUEST.run, name, seed),
        chain_head=link(seed, length, 0),
        closed=0,
        signature=b"",
    )
    signed = sign_acceptance(bare, IdentityKey.from_secret(secret_of(f"identity {name}")))
    assert signed.seed_commitment == expected["seed_commitment"]
    assert signed.signature.hex() == expected["acceptance_signature"]
    member = HOUSE.manifest.member(name)
    found = verify_acceptance(signed, plan=digest("plan"), member=member)
    assert found == Link(0, expected["chain_head"])


@pytest.mark.parametrize("name", NAMES)
def test_join_pair_keys_masks_and_upload(name: PartnerId) -> None:
    joins = [machine_of(one).on_proposal(REQUEST) for one in NAMES]
    for join in joins:
        expected = VECTORS["members"][join.member]
        assert join.ephemeral.hex() == expected["ephemeral"]
        assert (join.count, join.link) == (expected["count"], expected["link"])
        assert join.signature.hex() == expected["join_signature"]
    machine = machine_of(name)
    machine.on_proposal(REQUEST)
    joined = machine.on_joins(joins)
    assert (joined.context, joined.digest) == (VECTORS["context"], VECTORS["joined"])
    for peer, key in joined.keys.items():
        pair = " ".join(sorted((name, peer)))
        assert key.expose().hex() == VECTORS["pair_keys"][pair]
    expected = VECTORS["members"][name]
    words, upload = machine.mask(np.array(expected["values"]))
    assert [f"{word:016x}" for word in words.tolist()] == expected["words"]
    assert upload.words == expected["words_digest"]
    assert upload.signature.hex() == expected["upload_signature"]
