from dataclasses import replace

import pytest

from consortium.canonical import canonical_json
from consortium.errors import ManifestError
from consortium.ids import PartnerId, digest_of
from consortium.manifest import Manifest, manifest_bytes
from consortium.messages import ManifestBundle
from partner_node.keystore import Pin, read_bundle
from partner_node.trust import check_follows, manifest_lines
from tests.simulator import Consortium


@pytest.fixture(scope="module")
def house() -> Consortium:
    return Consortium()


def pin_of(house: Consortium, manifest: Manifest) -> Pin:
    bundle = ManifestBundle(
        body=manifest_bytes(manifest),
        signatures=house.signatures()[:1] if manifest == house.manifest else (),
        schema=canonical_json(house.schema.to_canonical()),
    )
    return read_bundle(bundle)


def test_manifest_is_shown_with_members_floors_and_who_has_signed(house: Consortium) -> None:
    text = "\n".join(manifest_lines(pin_of(house, house.manifest), None))
    assert house.manifest.digest in text
    assert "min_partners = 3" in text
    assert "late by more than 90 days" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert " signed " in lines["bank_a"]
    assert " not signed " in lines["bank_b"]
    assert "changes against" not in text
    assert "  scoring.delivery = partner_local" in text
    assert "<" not in text, "no representation of a Python object is signed by anybody"


def test_every_change_against_the_pinned_manifest_is_shown(house: Consortium) -> None:
    old = house.manifest
    members = [member for member in old.members if member.id != "shop_d"]
    members[0] = replace(members[0], identity="ab" * 32)
    members.append(replace(members[1], id=PartnerId("newcomer"), index=7))
    new = replace(
        old,
        version=2,
        previous=None,
        members=tuple(members),
        policy=replace(
            old.policy,
            min_partners=2,
            code=(old.digest,),
            scoring=replace(old.policy.scoring, scores_per_day=7),
        ),
    )
    lines = list(manifest_lines(pin_of(house, new), pin_of(house, old)))
    changes = [line.strip() for line in lines[lines.index("members") :]]
    assert "min_partners: 3 -> 2" in changes
    assert f"code: any -> {old.digest}" in changes
    quota = old.policy.scoring.scores_per_day
    assert f"scoring.scores_per_day: {quota} -> 7" in changes
    assert "shop_d leaves" in changes
    assert "newcomer joins with repayment" in changes
    assert "bank_a changes: identity" in changes
    assert any("versions between them were not seen" in line for line in changes)


def test_manifest_that_follows_the_pinned_one_is_not_suspect(house: Consortium) -> None:
    new = replace(house.manifest, version=2, previous=house.manifest.digest)
    text = "\n".join(manifest_lines(pin_of(house, new), pin_of(house, house.manifest)))
    assert "changes against the pinned manifest 1" in text
    assert "not seen" not in text


def test_manifest_that_does_not_follow_the_pinned_one_is_not_trusted(house: Consortium) -> None:
    old = pin_of(house, house.manifest)
    successor = replace(house.manifest, version=2, previous=old.digest)
    for fine in (old, pin_of(house, successor)):
        check_follows(fine, old)
        check_follows(fine, None)
    for previous in (None, digest_of(b"a manifest that was never seen")):
        fork = pin_of(house, replace(house.manifest, version=3, previous=previous))
        with pytest.raises(ManifestError, match="--replace"):
            check_follows(fork, old)


def test_pinned_manifest_is_recognised(house: Consortium) -> None:
    pin = pin_of(house, house.manifest)
    assert list(manifest_lines(pin, pin))[-1] == "this manifest is pinned here already"
