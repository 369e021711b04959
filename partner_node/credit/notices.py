"""The decision notice: what was decided, why, and what one can do (credit 3.3, 3.4, 4.20).

Pure: from a stored decision and what was kept with it to a ``Paper``, in one language. It
holds every code of the decision and no other; score, range and estimated probability; how
much is covered; classes of sources. It never holds a partner's name, a weight or points
lost: the reasons stand in the order of their weight, and that says enough.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from consortium.credit.education import CODES, modules_for
from consortium.credit.education_texts import MODULES, Module, Topic
from consortium.credit.facts import DecisionInput
from consortium.credit.pack import Language
from consortium.credit.terms import ConsentPurpose, Money
from consortium.credit.tiers import Rules
from consortium.credit.verdict import RULE_TEXTS, Decision, Outcome, Override, ReasonSource
from consortium.features.schema import Schema
from consortium.ids import Digest
from consortium.scoring.scorecard import HIGHEST, LOWEST, from_units, pd_of
from partner_node.credit.document import (
    Block,
    Fact,
    Facts,
    Item,
    Items,
    Paper,
    Section,
    Text,
    Tone,
    money,
    percent,
)
from partner_node.credit.house_terms import HouseTerms, Words
from partner_node.credit.notice_words import (
    BANDS,
    BOUNDS,
    CONSENTS,
    DOCUMENTS,
    OUTCOMES,
    OVERRIDES,
    PURPOSES,
    SOURCES,
    TEXTS,
    WHY_NOT,
)
from partner_node.credit.offers import Offered
from partner_node.credit.what_helps import Help, move_in

_TONES = {Outcome.APPROVE: Tone.GOOD, Outcome.REFER: Tone.LOOK, Outcome.DECLINE: Tone.BAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """All that a notice is made from. Private."""

    id: Digest
    decision: Decision = field(repr=False)
    inputs: DecisionInput = field(repr=False)
    rules: Rules
    texts: Mapping[str, Words] = field(repr=False)
    """Of the codes that were scored, as they were told when it was decided."""
    final: Override | None = None
    """The officer's last word, if there is one."""
    helps: Help | None = field(repr=False, default=None)
    """None: it was not worked out."""
    offered: Offered = field(repr=False)
    terms: HouseTerms
    sheet: Digest | None = None
    """The cost sheet that was made under it."""
    schema: Schema | None = None
    """Says what a federation's own codes are about."""

    @property
    def outcome(self) -> Outcome:
        """The last word."""
        return self.decision.outcome if self.final is None else self.final.after

    @property
    def limit(self) -> int:
        """Of the last word, minor units."""
        return self.decision.limit if self.final is None else self.final.limit

    @property
    def words(self) -> Mapping[str, Words]:
        """Of all codes that a schema names: an officer may have found what was not scored."""
        features = () if self.schema is None else self.schema.features
        return {
            one.reason: Words(zh=one.reason_zh, en=one.reason_en) for one in features
        } | dict(self.texts)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code of the last word, each once: a referral's, or those of the reasons."""
        if self.final is not None:
            return tuple(dict.fromkeys(self.final.reasons))
        found = [one.code for one in self.decision.reasons]
        if self.decision.outcome is Outcome.REFER:
            found = [self.decision.code, *found]
        return tuple(dict.fromkeys(found))


def notice_of(what: Noticed, language: Language) -> Paper:
    """The notice in one language.

    Raises:
        DigestMismatchError: what would change the result does not come out as it was found.
    """
    words, decision = TEXTS[language], what.decision
    automated = words["to_person"] if what.outcome is Outcome.REFER else words["automated"]
    wish = what.inputs.wish
    parts = [money(Money(wish.amount, wish.currency))]
    parts += [PURPOSES[language][wish.purpose]] if wish.purpose is not None else []
    product = what.rules.catalogue.product(wish.product)
    if product is not None:
        parts.append(product.name_zh if language is Language.ZH else product.name_en)
    banner = OUTCOMES[language][what.outcome]
    if what.outcome is Outcome.APPROVE:
        banner += f" · {words['limit']} {money(Money(what.limit, wish.currency))}"
    return Paper(
        language=language,
        kind=f"{what.terms.lender.of(language)} · {words['kind']}",
        title=words["title"],
        about=f"{words['application']} {decision.application} · "
        f"{words['decided_on']} {_final_day(what)}",
        tone=_TONES[what.outcome],
        banner=banner,
        more=f"{words['asked']} {' · '.join(parts)}",
        sections=tuple(
            Section(title, tuple(blocks))
            for title, blocks in _sections(what, language, automated)
            if blocks
        ),
        foot=words["foot"],
    )


def _sections(
    what: Noticed, language: Language, automated: str
) -> Iterator[tuple[str, list[Block]]]:
    words = TEXTS[language]
    refers = what.outcome is Outcome.REFER
    yield words["h_why_person" if refers else "h_reasons"], list(_reasons(what, language))
    yield words["h_terms"], list(_conditions(what, language))
    yield words["h_change"], list(_changes(what, language))
    yield words["h_next"], list(_next(what, language))
    yield words["h_score"], list(_score(what, language))
    yield words["h_sources"], [Items(tuple(Item(one) for one in _sources(what, language)))]
    yield words["h_review"], list(_review(what, language, automated))
    yield words["h_consents"], list(_consents(what, language))
    for module in modules_of(what.codes, what.schema):
        title = module.title_zh if language is Language.ZH else module.title_en
        texts = module.zh if language is Language.ZH else module.en
        yield f"{words['h_learn']}: {title}", [Text(one) for one in texts]
    yield words["h_proof"], list(_proof(what, language))


def _final_day(what: Noticed) -> str:
    return (what.decision.decided_on if what.final is None else what.final.on).isoformat()


# --- reasons and conditions -------------------------------------------------------------------


def text_of(code: str, texts: Mapping[str, Words], language: Language) -> str:
    """What is said of a code; the code's own rule text, or the words it was scored with."""
    rule = RULE_TEXTS.get(code)
    if rule is not None:
        return rule.zh if language is Language.ZH else rule.en
    said = texts.get(code)
    return said.of(language) if said is not None else code


def _reasons(what: Noticed, language: Language) -> Iterator[Block]:
    words = TEXTS[language]
    if what.final is not None:
        yield Text(f"{words['by_officer']} {OVERRIDES[language][what.final.code]}")
    if not what.codes:
        return
    if what.outcome is Outcome.DECLINE and what.final is None:
        yield Text(words["reasons_about"], quiet=True)
    if what.outcome is Outcome.APPROVE:
        yield Text(words["reasons_lower"], quiet=True)
    yield Items(tuple(Item(text_of(code, what.words, language), code) for code in what.codes))


def _conditions(what: Noticed, language: Language) -> Iterator[Block]:
    decision, words = what.decision, TEXTS[language]
    if what.outcome is not Outcome.APPROVE:
        return
    facts = [Fact(words["limit"], money(Money(what.limit, what.inputs.wish.currency)))]
    if decision.price_apr:
        low, high = decision.price_apr
        price = percent(high) if low == high else f"{percent(low)} – {percent(high)}"
        facts.append(Fact(words["price"], price))
    if decision.bounds and what.final is None:
        bounds = "; ".join(BOUNDS[language][one] for one in decision.bounds)
        facts.append(Fact(words["bounds"], bounds))
    if decision.documents:
        known = DOCUMENTS[language]
        papers = ", ".join(known.get(one, one) for one in decision.documents)
        facts.append(Fact(words["documents"], papers))
    yield Facts(tuple(facts))


def _changes(what: Noticed, language: Language) -> Iterator[Block]:
    words = TEXTS[language]
    if what.outcome is Outcome.APPROVE or what.final is not None:
        return
    if what.helps is None:
        refers = what.outcome is Outcome.REFER
        yield Text(words["change_person" if refers else "change_unknown"])
        return
    made = what.helps.promised(what.rules)
    if made is None:
        left = what.helps.leaves_on
        yield Text(words["change_none"])
        if left is not None:
            yield Text(words["change_arrears"].format(day=left.isoformat()))
        return
    currency = what.inputs.wish.currency
    limit = money(Money(made.limit, currency))
    yield Text(words["change_about"])
    yield Text(f"{OUTCOMES[language][made.outcome]} · {words['limit']} {limit}")
    items = []
    for move in what.helps.moves:
        name, before, after = move_in(language, move, currency)
        when = words["months"].format(months=move.months) if move.months else words["at_once"]
        change = f"{words['now']} {before} → {words['then']} {after}; {when}"
        items.append(Item(name, more=change))
    yield Items(tuple(items))
    yield Text(words["change_note"], quiet=True)


def _next(what: Noticed, language: Language) -> Iterator[Block]:
    words = TEXTS[language]
    if what.outcome is not Outcome.DECLINE:
        return
    if what.offered.offers:
        yield Text(words["offer"])
        items = []
        for one in what.offered.offers:
            product = what.rules.catalogue.product(one.product)
            name = one.product
            if product is not None:
                name = product.name_zh if language is Language.ZH else product.name_en
            currency = one.terms.amount.currency
            monthly = money(Money(one.monthly_due, currency))
            cost = money(Money(one.total_cost, currency))
            items.append(
                Item(
                    f"{name}: {money(one.terms.amount)}, "
                    f"{months_in(language, one.terms.months)}",
                    more=f"{words['monthly']} {monthly} · {words['cost']} {cost}",
                )
            )
        yield Items(tuple(items))
        return
    yield Text(words["none_suits"])
    yield Items(tuple(Item(WHY_NOT[language][one]) for one in what.offered.why))
    yield Text(what.terms.counselling.of(language))


def months_in(language: Language, months: int) -> str:
    """``12 months``."""
    return f"{months} 个月" if language is Language.ZH else f"{months} months"


# --- score, sources, consents -----------------------------------------------------------------


def _score(what: Noticed, language: Language) -> Iterator[Block]:
    words, score = TEXTS[language], what.inputs.score
    if score is None:
        yield Text(words["no_score"])
        return
    chance = round(pd_of(from_units(score.eta)) * 1_000_000)
    yield Facts(
        (
            Fact(words["score"], str(score.points)),
            Fact(words["range"], words["range_is"].format(low=LOWEST, high=HIGHEST)),
            Fact(words["pd"], percent(chance)),
            Fact(words["band"], BANDS[language][score.band]),
        )
    )


def _sources(what: Noticed, language: Language) -> Iterator[str]:
    known, inputs = SOURCES[language], what.inputs
    if inputs.standing.has_history or inputs.score is not None:
        yield known[ReasonSource.OWN]
    if _others_count(inputs):
        yield known[ReasonSource.OTHERS]
    if inputs.standing.income is not None and inputs.consented(ConsentPurpose.INCOME_DATA):
        yield known["income"]
    if inputs.standing.elsewhere:
        yield known["declared"]
    yield known[ReasonSource.RULE]


def _others_count(inputs: DecisionInput) -> bool:
    """Whether another institution's knowledge is in the score; band 1 may be this one's own."""
    if inputs.attestation is not None and inputs.attestation.scored:
        return True
    band = "0" if inputs.score is None else inputs.score.band
    return band not in {"0", "1"} or (band == "1" and not inputs.standing.has_history)


def _consents(what: Noticed, language: Language) -> Iterator[Block]:
    words = TEXTS[language]
    day = what.inputs.decided_on
    items = []
    for one in what.inputs.consents:
        if one.allows(day) and one.purpose in _used(what):
            until = words["open"] if one.expires_on is None else one.expires_on.isoformat()
            items.append(
                Item(
                    CONSENTS[language][one.purpose],
                    more=f"{one.id} · {words['given']} {one.given_on} · "
                    f"{words['until']} {until}",
                )
            )
    yield Items(tuple(items)) if items else Text(words["none"])


def _used(what: Noticed) -> frozenset[ConsentPurpose]:
    used = {ConsentPurpose.CREDIT_DECISION}
    score = what.inputs.score
    if score is not None and score.band != "0":
        used.add(ConsentPurpose.JOINT_SCORE)
    if what.inputs.standing.income is not None:
        used.add(ConsentPurpose.INCOME_DATA)
    if what.inputs.attestation is not None:
        used.add(ConsentPurpose.ATTESTATION)
    return frozenset(used)


def _review(what: Noticed, language: Language, automated: str) -> Iterator[Block]:
    words, terms = TEXTS[language], what.terms
    if what.final is None:
        yield Text(automated)
    review = what.decision.review
    dispute_by = what.decision.decided_on + timedelta(days=terms.dispute_days)
    rows = []
    if what.outcome is not Outcome.REFER:
        more = f"{review.route} · {words['last_day']} {review.by.isoformat()}"
        rows.append(Item(f"{words['review']}: {terms.review.of(language)}", more=more))
    more = f"{words['last_day']} {dispute_by.isoformat()}"
    rows.append(Item(f"{words['dispute']}: {terms.dispute.of(language)}", more=more))
    yield Items(tuple(rows))


def _proof(what: Noticed, language: Language) -> Iterator[Block]:
    words, inputs, score = TEXTS[language], what.inputs, what.inputs.score
    pairs: list[tuple[str, str]] = [
        ("decision", what.id),
        ("input", what.decision.input),
        ("policy", inputs.policy),
        ("pack", inputs.pack),
        ("catalogue", inputs.catalogue),
    ]
    if score is not None:
        pairs += [
            ("model", score.model),
            ("head", score.head),
            ("schema", score.schema),
            ("manifest", score.manifest),
        ]
    if what.sheet is not None:
        pairs.append(("sheet", what.sheet))
    yield Text(words["proof_about"], quiet=True)
    yield Facts(tuple(Fact(words[name], one, code=True) for name, one in pairs if one))


# --- modules ----------------------------------------------------------------------------------


def modules_of(codes: tuple[str, ...], schema: Schema | None) -> tuple[Module, ...]:
    """The modules of a borrower's reasons; without a schema its own codes get E4."""
    if schema is not None:
        return modules_for(codes, schema)
    topics = dict.fromkeys(CODES.get(code, Topic.RECORD) for code in codes)
    return tuple(MODULES[topic] for topic in topics)


def module_paper(module: Module, language: Language, lender: str) -> Paper:
    """One module by itself."""
    zh = language is Language.ZH
    title = module.title_zh if zh else module.title_en
    texts = module.zh if zh else module.en
    return Paper(
        language=language,
        kind=lender,
        title=title,
        about=str(module.topic),
        tone=Tone.CALM,
        banner=texts[0],
        more="",
        sections=(Section(TEXTS[language]["h_learn"], tuple(Text(one) for one in texts[1:])),),
        foot="阅读与否不会被记录。" if zh else "Whether you read this is recorded nowhere.",
    )
