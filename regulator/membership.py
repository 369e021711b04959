"""How a regulator signs a manifest, and which one it works under (protocol 2.3, 2.4)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from consortium.canonical import Label
from consortium.errors import ManifestError
from consortium.ids import Digest
from consortium.ledger.entries import ManifestAdopted
from consortium.messages import ManifestBundle, Signed
from regulator.keys import Keys, Pin, read_bundle
from regulator.watch import Reader, signed_entry


class Signing(Protocol):
    """The door to the coordinator, where a manifest is signed."""

    def fetch_manifest(self, digest: Digest | None = None) -> ManifestBundle:
        """A manifest; nothing in it is checked."""

    def sign_manifest(self, signed: Signed, entry: bytes) -> None:
        """Hand in a signature with its entry."""


def manifest_lines(pin: Pin, keys: Keys) -> Iterator[str]:
    """The proposed manifest in words, before it is signed."""
    manifest, old = pin.manifest, keys.pinned()
    missing = set(pin.missing())
    yield f"manifest {manifest.version} of {manifest.federation}"
    yield f"  digest   {manifest.digest}"
    yield f"  previous {manifest.previous or 'none'}"
    yield f"  schema   {pin.schema.name} version {pin.schema.version}, {manifest.schema}"
    for member in manifest.members:
        state = "" if member.active else "revoked "
        word = "not signed" if member.id in missing else "signed"
        yield f"  {member.id:<24} {state}{member.role.value:<11} {word}"
    policy = manifest.policy
    run, lifetime = policy.max_epsilon_per_run, policy.max_epsilon_lifetime
    yield f"  epsilon of a run {run}, of all runs {lifetime}, delta {policy.delta}"
    yield f"  partners at least {policy.min_partners}, votes {policy.vote_quorum}"
    if old is not None and old.manifest.digest == manifest.digest:
        yield "this manifest is signed here already"
    elif old is not None and manifest.previous != old.manifest.digest:
        yield f"it does not follow the signed one, {old.manifest.digest}"


def sign(
    door: Signing, keys: Keys, digest: Digest, *, now: Callable[[], int], replacing: bool
) -> Pin:
    """Check, sign and pin the manifest of that digest.

    Raises:
        ManifestError: this regulator is not listed under its own keys, or the manifest does
            not follow the one that it signed before. Fault: the coordinator.
    """
    pin = read_bundle(door.fetch_manifest(digest), digest)
    keys.check_own(pin.manifest)
    old = keys.pinned()
    follows = old is None or old.manifest.digest in {digest, pin.manifest.previous}
    if not follows and not replacing:
        raise ManifestError(
            f"manifest {digest[:12]} does not follow the one that is signed here; if the "
            "members agree on it, add --replace"
        )
    member, identity = keys.place().member, keys.identity()
    signature = identity.sign(Label.MANIFEST_SIGNATURE, bytes.fromhex(digest))
    signed = Signed(digest=digest, member=member, signature=signature)
    adopted = ManifestAdopted(
        manifest=digest, version=pin.manifest.version, signature=signature
    )
    entry = signed_entry(adopted, member=member, identity=identity, hint=0, at=now())
    # Pinned first: whoever has signed a manifest must know that it did.
    mine = (*(one for one in pin.bundle.signatures if one.member != member), signed)
    keys.pin(replace(pin, bundle=replace(pin.bundle, signatures=mine)))
    door.sign_manifest(signed, entry)
    return pin


def complete(reader: Reader, keys: Keys, *, now: int) -> Pin:
    """The signed manifest once all have signed it; fetched again until then.

    Raises:
        ManifestError: none is signed here, or somebody has not signed yet.
    """
    pin = keys.pinned()
    if pin is None:
        raise ManifestError("no manifest is signed here yet; run: riskweave audit trust")
    if pin.missing():
        pin = read_bundle(reader.fetch_manifest(pin.manifest.digest), pin.manifest.digest)
        if missing := pin.missing():
            raise ManifestError(f"the manifest is not signed by {', '.join(missing)}")
        keys.pin(pin)
    pin.verify(now=now)
    return pin
