"""The rules in force at this partner: read from ``credit/``, checked, kept by digest.

``policy*.toml`` and ``catalogue*.toml`` are this partner's own, each a dated version;
``pack*.toml`` is a pack of its own, in place of a shipped one of the same id. A changed file
counts from the next decision on. A file that is refused stops decisions, with its line and
field: yesterday's rules are not quietly used on. Files are kept with the decisions that name
them, so that replay needs nothing of the directory.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import combinations
from pathlib import Path

from consortium import credit
from consortium.credit.pack import Pack, parse_pack
from consortium.credit.policy import Policy, parse_policy, policy_at
from consortium.credit.terms import Span
from consortium.credit.tiers import Catalogue, Rules, check_rules, parse_catalogue
from consortium.errors import ConfigurationError, DigestMismatchError, PolicyError
from consortium.ids import Digest
from partner_node.credit.sample import FILE, sample_application
from partner_node.keystore import read_file, write_file

FOLDER = "credit"
PACKS = Path(credit.__file__).parent / "packs"
STARTERS = Path(__file__).parent / "starters"
KINDS = ("pack", "policy", "catalogue")

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """One file as it was read."""

    kind: str
    digest: Digest
    source: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """Rules of a day, and the files that they were read from."""

    rules: Rules
    files: tuple[RuleFile, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """All files of a directory."""

    packs: dict[str, tuple[Pack, RuleFile]]
    policies: tuple[tuple[Policy, RuleFile], ...]
    catalogues: tuple[tuple[Catalogue, RuleFile], ...]


class RulesBook:
    """Rules of a directory; safe to use from any thread."""

    def __init__(self, directory: Path) -> None:
        """``directory``: the node's. Nothing is read before somebody asks."""
        self._folder = directory / FOLDER
        self._turn = threading.Lock()
        self._stamp: Stamp | None = None
        self._read: _Read | None = None
        self._days: dict[date, InForce] = {}
        self._replayed: dict[tuple[str, str, str], Rules] = {}

    def at(self, day: date) -> InForce:
        """The rules of a day, checked against one another.

        Raises:
            ConfigurationError: there are none; run ``riskweave desk init``.
            PolicyError: a file breaks a rule, versions overlap, or none is in force.
        """
        with self._turn:
            stamp = self._seen()
            if self._read is None or stamp != self._stamp:
                self._read, self._days = _checked(_read(self._folder)), {}
                self._stamp = stamp
            found = self._days.get(day)
            if found is None:
                found = _in_force(self._read, day)
                self._days = {**dict(list(self._days.items())[-3:]), day: found}
            return found

    def of(
        self, pack: str, policy: str, catalogue: str, kept: Callable[[str], bytes | None]
    ) -> Rules:
        """The rules that a stored decision names, from the files that were kept with it.

        Raises:
            DigestMismatchError: a file is not what its digest says.
            ConfigurationError: a file was not kept.
        """
        names = (pack, policy, catalogue)
        with self._turn:
            found = self._replayed.get(names)
        if found is None:
            found = _again(names, kept)
            with self._turn:
                self._replayed = {**dict(list(self._replayed.items())[-15:]), names: found}
        return found

    def _seen(self) -> Stamp:
        """What stands in the directory, by name, time and size."""
        try:
            with os.scandir(self._folder) as entries:
                stats = [
                    (one.name, one.stat()) for one in entries if one.name.endswith(".toml")
                ]
        except FileNotFoundError:
            stats = []
        except OSError as error:
            raise ConfigurationError(f"{self._folder}: {error.strerror}") from error
        if not stats:
            raise ConfigurationError(
                f"{self._folder}: no credit rules; run: riskweave desk init "
                f"{self._folder.parent}"
            )
        return tuple(sorted((name, one.st_mtime_ns, one.st_size) for name, one in stats))


# --- reading ----------------------------------------------------------------------------------


def _read(folder: Path) -> _Read:
    packs = {
        pack.id: (pack, file)
        for path in _files(folder, "pack")
        for pack, file in (_pack(path),)
    }
    policies = []
    for path in _files(folder, "policy"):
        source = read_file(path)
        policy = parse_policy(source, path.name)
        policies.append((policy, RuleFile(kind="policy", digest=policy.digest, source=source)))
        if policy.pack not in packs:
            packs[policy.pack] = _shipped(policy.pack, path.name)
    catalogues = []
    for path in _files(folder, "catalogue"):
        source = read_file(path)
        one = parse_catalogue(source, path.name)
        catalogues.append((one, RuleFile(kind="catalogue", digest=one.digest, source=source)))
    return _Read(packs, tuple(policies), tuple(catalogues))


def _files(folder: Path, kind: str) -> Iterable[Path]:
    return sorted(folder.glob(f"{kind}*.toml"))


def _pack(path: Path) -> tuple[Pack, RuleFile]:
    source = read_file(path)
    pack = parse_pack(source, path.name)
    return pack, RuleFile(kind="pack", digest=pack.digest, source=source)


def shipped_packs() -> tuple[str, ...]:
    """Ids of the packs that come with the program."""
    return tuple(sorted(path.stem for path in PACKS.glob("*.toml")))


def _shipped(name: str, where: str) -> tuple[Pack, RuleFile]:
    if name not in shipped_packs():
        known = ", ".join(shipped_packs())
        raise PolicyError(
            f"{where}: policy.pack: seen {name!r}, expected one of {known}, or the id of a "
            "pack*.toml beside it"
        )
    return _pack(PACKS / f"{name}.toml")


def _checked(read: _Read) -> _Read:
    """Refuse at reading what would be refused on some later day."""
    if not read.policies:
        raise PolicyError("policy*.toml: seen none, expected at least one")
    policies = [one for one, _ in read.policies]
    policy_at(policies, min(one.effective_from for one in policies))
    for (one, _), (other, _) in combinations(read.catalogues, 2):
        if _span(one).meets(_span(other)):
            raise PolicyError(
                f"catalogue {other.id} {other.version}: seen in force together with "
                f"{one.id} {one.version}, expected one at a time"
            )
    for policy, _ in read.policies:
        for catalogue, _ in read.catalogues:
            if policy.span.meets(_span(catalogue)):
                check_rules(read.packs[policy.pack][0], policy, catalogue)
    return read


def _span(catalogue: Catalogue) -> Span:
    return Span(catalogue.effective_from, catalogue.effective_to)


def _in_force(read: _Read, day: date) -> InForce:
    policy = policy_at([one for one, _ in read.policies], day)
    catalogues = [pair for pair in read.catalogues if pair[0].in_force(day)]
    if not catalogues:
        raise PolicyError(f"catalogue: seen none in force on {day}, expected one")
    catalogue, catalogue_file = catalogues[0]
    pack, pack_file = read.packs[policy.pack]
    policy_file = next(file for one, file in read.policies if one is policy)
    return InForce(
        rules=check_rules(pack, policy, catalogue),
        files=(pack_file, policy_file, catalogue_file),
    )


def _again(names: Sequence[str], kept: Callable[[str], bytes | None]) -> Rules:
    """Rules from kept files; each must have the digest under which it was asked for."""
    sources = []
    for kind, name in zip(KINDS, names, strict=True):
        source = kept(name)
        if source is None:
            raise ConfigurationError(f"{kind} {name}: its file was not kept")
        sources.append(source)
    rules = check_rules(
        parse_pack(sources[0], KINDS[0]),
        parse_policy(sources[1], KINDS[1]),
        parse_catalogue(sources[2], KINDS[2]),
    )
    made = (rules.pack_digest, rules.policy_digest, rules.catalogue_digest)
    for kind, seen, name in zip(KINDS, made, names, strict=True):
        if seen != name:
            raise DigestMismatchError(f"kept {kind}", seen, name)
    return rules


# --- a new desk -------------------------------------------------------------------------------


def write_starters(
    directory: Path, *, partner: str, pack: str, since: date, example: bool
) -> tuple[Path, ...]:
    """Write rules, house terms and one application to edit; returns their paths.

    Args:
        directory: The node's.
        partner: Its id, which names both.
        pack: Id of a shipped pack.
        since: First day on which they are in force.
        example: With what a person can do about the features of the Taiwan example.

    Raises:
        ConfigurationError: no such pack, or there are rules already; nothing is written.
    """
    if pack not in shipped_packs():
        known = ", ".join(shipped_packs())
        raise ConfigurationError(f"--pack {pack!r}: expected one of {known}")
    folder = directory / FOLDER
    # Tables that a node counts from (lines.toml, groups.toml) may be named before.
    if any(any(folder.glob(f"{kind}*.toml")) for kind in (*KINDS, "terms")):
        raise ConfigurationError(f"{folder} has rules already; nothing was changed")
    currency = parse_pack(read_file(PACKS / f"{pack}.toml"), pack).currency
    values = {
        "@partner@": partner,
        "@pack@": pack,
        "@currency@": currency,
        "@since@": since.isoformat(),
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}") from error
    written = []
    for name in ("policy", "catalogue", "terms"):
        text = read_file(STARTERS / f"{name}.toml").decode()
        if example and name == "policy":
            text += read_file(STARTERS / "levers_taiwan.toml").decode()
        for mark, value in values.items():
            text = text.replace(mark, value)
        written.append(folder / f"{name}.toml")
        write_file(written[-1], text.encode())
    RulesBook(directory).at(since)
    sample = sample_application(on=since, currency=currency)
    written.append(folder / FILE)
    write_file(written[-1], (json.dumps(sample, indent=2) + "\n").encode())
    return tuple(written)
