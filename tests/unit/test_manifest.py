from dataclasses import replace

import pytest

from consortium.canonical import canonical_json, parse_canonical
from consortium.errors import ManifestError
from consortium.ids import PartnerId
from consortium.manifest import (
    NO_CODE,
    Manifest,
    Member,
    Role,
    digest_of_code,
    manifest_bytes,
    parse_manifest,
)
from tests.secagg_house import POLICY, Federation, digest, federation


def whole(**changes: object) -> Manifest:
    house: Federation = federation(3)
    coordinator = Member(
        id=PartnerId("coordinator"),
        index=65535,
        role=Role.COORDINATOR,
        identity=house.manifest.members[0].identity,
        agreement="",
        witness="",
        tls_spki=digest("spki"),
        families=(),
    )
    policy = replace(POLICY, **changes)  # type: ignore[arg-type]
    return replace(
        house.manifest, members=(*house.manifest.members, coordinator), policy=policy
    )


ASSUMED = {
    "honest_fraction": "0.667",
    "family_m": (("billing", 1), ("repayment", 3)),
    "allow_pair": True,
}


def test_assumptions_survive_the_bytes_and_are_in_the_digest() -> None:
    manifest = whole(**ASSUMED)
    assert parse_manifest(manifest_bytes(manifest)) == manifest
    digests = {whole(**{name: value}).digest for name, value in ASSUMED.items()}
    assert len(digests | {whole().digest}) == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("honest_fraction", "0"),
        ("honest_fraction", "1.5"),
        ("honest_fraction", "half"),
        ("family_m", {"billing": 0}),
        ("family_m", ["billing"]),
        ("family_m", {"billing": "two"}),
        ("allow_pair", "yes"),
        ("allow_pair", 1),
        ("surprise", 1),
    ],
)
def test_policy_of_another_form_is_refused(field: str, value: object) -> None:
    body = parse_canonical(manifest_bytes(whole()))
    assert isinstance(body, dict)
    body["policy"][field] = value
    with pytest.raises(ManifestError):
        parse_manifest(canonical_json(body))


def test_policy_without_its_assumptions_is_refused() -> None:
    for field in ("honest_fraction", "family_m", "allow_pair"):
        body = parse_canonical(manifest_bytes(whole()))
        assert isinstance(body, dict)
        del body["policy"][field]
        with pytest.raises(ManifestError):
            parse_manifest(canonical_json(body))


@pytest.mark.parametrize(
    ("families", "least"),
    [
        (("billing",), 1),
        (("repayment",), 2),  # never above m
        (("unlisted",), 2),
        (("billing", "unlisted"), 1),
        ((), 2),
    ],
)
def test_block_is_bounded_by_the_family_of_fewest(
    families: tuple[str, ...], least: int
) -> None:
    policy = whole(**ASSUMED).policy
    assert policy.max_partners_per_person == 2
    assert policy.holders_floor(families) == least


@pytest.mark.parametrize(
    ("partners", "pair", "least", "floor"),
    [
        (2, False, 2, 3),
        (2, True, 2, 2),
        (3, True, 2, 3),
        (4, False, 2, 3),
        (5, False, 2, 4),
        (10, False, 2, 7),
        (10, False, 9, 9),
    ],
)
def test_floor_of_shared_noise(*, partners: int, pair: bool, least: int, floor: int) -> None:
    policy = replace(POLICY, allow_pair=pair, min_partners=least)
    assert policy.partners_floor(partners, "shared") == floor
    assert policy.partners_floor(partners, "own") == least


def test_record_without_a_source_file_has_no_code_whatever_else_it_lists() -> None:
    editable = "__editable__.pth,sha256=x,1\nriskweave.dist-info/METADATA,sha256=y,2\n"
    assert digest_of_code(editable) == digest_of_code("") == NO_CODE
    wheel = editable + "consortium/canonical.py,sha256=z,3\n"
    assert digest_of_code(wheel) not in {NO_CODE, digest_of_code(wheel + "other,,\n")}
