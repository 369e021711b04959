"""The text of ``node.toml``: what ``init`` writes, and what ``join`` puts into it."""

from partner_node.config import Addresses

TEMPLATE_HEAD = """\
# RiskWeave partner node. Unknown keys are refused. `riskweave node --help`

[node]
id = "{partner}"

[coordinator]                # written by `riskweave node join`

"""

TEMPLATE_SETTINGS = """\
[data]
# One SELECT over Parquet, CSV or PostgreSQL; relative paths start at this directory, or at
# `directory`. Its columns are the person, the label (0 = good, 1 = bad) and the features of
# the federation's schema.
# query = "SELECT * FROM 'clients.parquet'"
# person = "client_id"
# label = "default"
# directory = "/srv/risk"
# memory_limit = "1GB"
# threads = 2
# postgres = "service=risk"  # with it, the query may read the attached database as pg

[budget]                     # the coordinator cannot raise these; the manifest may lower them
lifetime_epsilon = "3"       # all runs of one epoch together, for one person
run_epsilon = "1"            # most that one run may ask for
tables_epsilon = "3"         # all table releases of one epoch, beside the runs that train
epoch = "default"            # a new name starts a new account: only for new persons' data

[votes]
min_auc = "0.5"              # `validate` says no to a model below this on the own hold-out

[scoring]
# study_consent = "consent"  # column with the reference of a person's consent to CALIBRATION:
                             # who has none is never asked about in a study
threads = 1                  # for pseudonyms of whole tables
refresh_hours = 24           # how often the table is read anew

[desk]                       # riskweave.v1.CreditDesk: always on desk.sock in this directory
# listen = "127.0.0.1:9443"  # also by gRPC over mutual TLS; `riskweave node desk-client`
# rest = "127.0.0.1:9080"    # REST: host:port, or "socket" for desk-rest.sock
# rest_tls = true            # by client certificate; must be, unless the host is loopback

[audit]                      # what a replay of this node's sums needs is kept in node.db
window_days = 90             # from a run's last sum; then its seed, JOINs and words are erased
words_mib = 1024             # most words kept; without them a difference cannot be explained
erase_after_result = false   # erase as soon as the regulator's result of the run is known

[credit]                     # the credit desk; rules: credit/*.toml, `riskweave desk init`
time_zone = "UTC"            # whose calendar dates a decision has, such as Asia/Taipei
key_hours = 24               # how long an idempotency key brings the same decision
deadline_ms = 500            # how long a decision waits for the others at most

[engine]                     # who reads the rows and adds them up (docs/operations.md)
kind = "local"               # this process; or "ray", with `pip install "riskweave[ray]"`
# address = "local"          # workers on this machine, or host:port of the bank's cluster
# workers = 2
# parts = 2                  # the rows are split by person into as many parts
# query = "SELECT * FROM 'clients/part-{part}.parquet'"  # the rows of one part alone
# deadline_s = 600           # how long a sum waits for the workers

[speed]
worker_nice = 5              # how far the training process steps back for others

[metrics]
# listen = "127.0.0.1:9465"  # Prometheus' /metrics, /healthz, /readyz; plain HTTP, so keep it
#                            # inside; health.sock in this directory answers in any case
"""

_HEAD = "[coordinator]                # written by `riskweave node join`"


def with_addresses(text: str, addresses: Addresses) -> str:
    """The file's text with its ``[coordinator]`` table replaced; all else stays as it is."""
    written = [
        _HEAD,
        f'address = "{addresses.federation}"',
        f'enrolment = "{addresses.enrolment}"',
        "",
    ]
    kept: list[str] = []
    inside, done = False, False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            inside = line.split("#")[0].strip() == "[coordinator]"
            if inside:
                kept += written
                done = True
        if not inside:
            kept.append(line)
    return "\n".join(kept if done else [*kept, "", *written]).rstrip("\n") + "\n"
