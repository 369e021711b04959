"""What an operator is shown and what is checked before a manifest is signed (protocol 2.4).

To trust a manifest is the one decision from which all else follows: who takes part, with
which keys, under which floors. So it is shown in words, beside what it changes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict

from consortium.errors import ManifestError
from consortium.ids import PartnerId
from consortium.ledger.revocations import barred
from consortium.manifest import Manifest, Member
from partner_node.keystore import Keystore, Pin
from partner_node.log_store import Revoked


def check_own_entry(manifest: Manifest, partner: PartnerId, keys: Keystore) -> Member:
    """This node's entry.

    Raises:
        ManifestError: it is not listed, or under a key that is not its own: somebody else
            could then sign in its name. Fault: the coordinator. Its TLS key is not looked at:
            it may be renewed at any time, and nobody but the coordinator trusts it.
    """
    member = manifest.member(partner)
    own = {
        "identity": keys.identity().public.hex(),
        "agreement": keys.agreement().public.hex(),
        "witness": keys.witness().public.hex(),
    }
    for name, value in own.items():
        if getattr(member, name) != value:
            raise ManifestError(f"the manifest lists another {name} key for {partner}")
    return member


def check_nobody_revoked(manifest: Manifest, revoked: Iterable[Revoked]) -> None:
    """Raise ManifestError if an identity that the log has revoked is called active (2.7).

    Fault: the coordinator. Nothing takes a revocation back but another key.
    """
    if out := barred({one.identity for one in revoked}, manifest):
        raise ManifestError(f"the manifest lists {min(out)} under a key that was revoked")


def check_follows(new: Pin, old: Pin | None) -> None:
    """Raise ManifestError unless the manifest is the successor of the pinned one.

    All active partners of the old one that remain have then to sign the new one (protocol
    2.3), and no version was left out or forked off unseen. Fault: the coordinator.
    """
    if old is None or old.digest in {new.digest, new.manifest.previous}:
        return
    raise ManifestError(
        f"manifest {new.digest[:12]} follows {(new.manifest.previous or 'none')[:12]}, not the "
        f"pinned {old.digest[:12]}; if the members agree on it, add --replace"
    )


def manifest_lines(new: Pin, old: Pin | None) -> Iterator[str]:
    """The manifest in words, then what it changes against the pinned one."""
    manifest = new.manifest
    signed = {signature.member for signature in new.bundle.signatures}
    yield f"manifest {manifest.version} of {manifest.federation}"
    yield f"  digest   {manifest.digest}"
    yield f"  previous {manifest.previous or 'none'}"
    yield f"  schema   {new.schema.name} version {new.schema.version}, {manifest.schema}"
    yield f"  a label of 1 means: {new.schema.label.definition}"
    yield "policy"
    for name, value in _policy(manifest).items():
        yield f"  {name} = {_shown(value)}"
    yield "members"
    for member in manifest.members:
        yield f"  {_member(member, signed=member.id in signed)}"
    if old is not None and old.digest == new.digest:
        yield "this manifest is pinned here already"
    elif old is not None:
        yield f"changes against the pinned manifest {old.manifest.version} ({old.digest[:12]})"
        yield from (f"  {line}" for line in _changes(old, new))


def _member(member: Member, *, signed: bool) -> str:
    state = "" if member.active else "revoked "
    families = ", ".join(member.families) or "-"
    word = "signed" if signed else "not signed"
    return f"{member.id:<24} {state}{member.role.value:<11} {word:<10} {families}"


def _changes(old: Pin, new: Pin) -> Iterator[str]:
    before, after = old.manifest, new.manifest
    if before.federation != after.federation:
        yield f"federation: {before.federation} -> {after.federation}"
    if before.schema != after.schema:
        yield f"feature schema: version {old.schema.version} -> {new.schema.version}"
    if after.previous != before.digest:
        yield "it does not follow the pinned manifest: versions between them were not seen"
    policies = _policy(before), _policy(after)
    for name, value in policies[1].items():
        if policies[0][name] != value:
            yield f"{name}: {_shown(policies[0][name])} -> {_shown(value)}"
    yield from _member_changes(before, after)


def _member_changes(before: Manifest, after: Manifest) -> Iterator[str]:
    known = {member.id: member for member in before.members}
    listed = {member.id: member for member in after.members}
    for name in sorted(known.keys() | listed.keys()):
        if name not in listed:
            yield f"{name} leaves"
        elif name not in known:
            yield f"{name} joins with {', '.join(listed[name].families) or 'no families'}"
        else:
            one, other = asdict(known[name]), asdict(listed[name])
            changed = ", ".join(field for field in one if one[field] != other[field])
            if changed:
                yield f"{name} changes: {changed}"


def _policy(manifest: Manifest) -> dict[str, object]:
    """What is signed, one line each; [scoring] and [gate] among it under names of their own."""
    policy = asdict(manifest.policy)
    parts = {table: policy.pop(table) for table in ("scoring", "gate")}
    return policy | {
        f"{table}.{name}": value
        for table, part in parts.items()
        for name, value in part.items()
    }


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value) or "any"
    return str(value)
