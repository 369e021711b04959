"""Line-months for tests: SYNTHETIC ones of the multi-lender market, and small ones by hand."""

import numpy as np

from examples.ecosystem import Partner, law
from examples.ecosystem.files import money_of
from examples.ecosystem.months import ANOMALY, GONE, STATUSES
from examples.ecosystem.profiles import Profile
from models.line_months import STATUSES as CODES
from models.line_months import UNKNOWN, LineTable


def line_table(partner: Partner, profile: Profile, *, last: int) -> LineTable:
    """A partner's month ends up to ``last``, as its table of lines would give them."""
    panel, lines = partner.panel, partner.lines
    line, month = np.nonzero((panel.status[: last + 1] != GONE).T)
    money = money_of(partner)
    codes = np.asarray([CODES.index(one) for one in STATUSES])
    announced = (partner.number == 2) & (month >= profile.announced_in)

    def whole(values: np.ndarray) -> np.ndarray:
        return values[month, line].astype(np.int64)

    return LineTable(
        line=line,
        person=lines.person[line].astype(np.int64),
        month=month,
        status=codes[panel.status[month, line]],
        dpd=np.asarray(law.STAGE_DPD)[panel.stage[month, line]],
        limit=lines.limit[line],
        balance=whole(money["balance"]),
        debits=whole(money["debits"]),
        cash=whole(money["cash"]),
        inactive=whole(panel.inactive),
        device=whole(panel.device),
        anomaly=(panel.cause[month, line] == ANOMALY).astype(np.int64),
        withdrawn=np.where(announced, profile.withdrawn_in, UNKNOWN),
        opened=-lines.months_on_book[line].astype(np.int64),
    )
