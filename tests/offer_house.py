"""Rules of a small bank for the tests of offers: any products, any cells."""

from datetime import date
from pathlib import Path

import consortium.credit
from consortium.credit.capacity import Income
from consortium.credit.pack import parse_pack
from consortium.credit.policy import (
    Cell,
    DecisionRules,
    Growth,
    LossRules,
    Policy,
    RestartRules,
    StageRules,
    StopRule,
)
from consortium.credit.terms import GRADES, PURPOSES, Grade, Ppm, Purpose, Segment
from consortium.credit.tiers import Catalogue, Product, Repayment, Rules

DAY = date(2026, 11, 2)
_PACK = Path(consortium.credit.__file__).parent / "packs" / "cn.toml"
CN = parse_pack(_PACK.read_bytes(), "cn.toml")
_ANY = Ppm(0)


def product(  # noqa: PLR0913 - a product has so many terms
    name: str,
    *,
    repayment: Repayment = Repayment.ANNUITY,
    weakest: Grade = Grade.G4,
    amount: tuple[int, int] = (100_000, 10_000_000),
    tenor: tuple[int, int] = (3, 36),
    price: tuple[int, int] = (60_000, 120_000),
    fee: int = 0,
    purposes: tuple[Purpose, ...] = (Purpose.DURABLES, Purpose.HOME),
) -> Product:
    return Product(
        id=name,
        name_zh="分期贷款",
        name_en="Instalment loan",
        segment=Segment.CONSUMER_TERM,
        repayment=repayment,
        purposes=purposes,
        weakest_grade=weakest,
        amount=amount,
        tenor_months=tenor,
        price_apr=(Ppm(price[0]), Ppm(price[1])),
        fee_share=Ppm(fee),
        documents=("identity",),
    )


def rules_of(*products: Product, limit: int = 10_000_000, dsr_cap: int = 500_000) -> Rules:
    """Rules with one condition in all 40 cells; not run through ``check_rules``."""
    cells = tuple(
        Cell(
            grade=grade,
            purpose=purpose,
            not_offered="",
            limit_max=limit,
            tenor_months=(1, 120),
            price_apr=(_ANY, Ppm(1_000_000)),
            documents=("income",),
        )
        for grade in GRADES
        for purpose in PURPOSES
    )
    policy = Policy(
        id="bank_a",
        version="1",
        pack=CN.id,
        currency="CNY",
        effective_from=date(2026, 11, 1),
        effective_to=None,
        pd_cuts=("0.02", "0.05", "0.10", "0.20"),
        cuts=(),
        cells=cells,
        rules=DecisionRules(
            dsr_cap=Ppm(dsr_cap),
            income_max_age_months=12,
            revolving_due_share=Ppm(50_000),
            barred_funds_share=Ppm(100_000),
            approval_days=30,
        ),
        growth=Growth(weekly_exposure=(1, 1, 1, 1, 1), ramp_percent=(100,)),
        stop=_STOP,
        restart=RESTART,
        stages=STAGES,
        loss=LossRules(lgd=Ppm(600_000), ccf_revolving=Ppm(500_000)),
        levers=(),
    )
    catalogue = Catalogue(
        id="products",
        version="1",
        currency="CNY",
        effective_from=date(2026, 11, 1),
        effective_to=None,
        products=products,
        not_offered=(),
    )
    return Rules(
        pack=CN,
        policy=policy,
        catalogue=catalogue,
        pack_digest=CN.digest,
        policy_digest=policy.digest,
        catalogue_digest=catalogue.digest,
        grade_cuts=(),
    )


_STOP = StopRule(
    fpd30_plan=Ppm(30_000),
    ratio=Ppm(2_000_000),
    alpha=Ppm(50_000),
    beta=Ppm(100_000),
    least_accounts=50,
    most_accounts=1_500,
    looks=1,
    holdout_margin=Ppm(20_000),
)
RESTART = RestartRules(
    a_pd="0.02", b_pd="0.10", a_dsr=Ppm(500_000), b_dsr=Ppm(600_000), holdout_percent=10
)
STAGES = StageRules(
    pd_ratio=Ppm(2_000_000),
    pd_floor=Ppm(10_000),
    pd_step=Ppm(50_000),
    cure_months=3,
    paid_months=6,
)


def income(each: int) -> Income:
    """Three equal credits."""
    return Income(credits=(each, each, each), latest_on=date(2026, 10, 25))
