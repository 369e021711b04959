CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE commitments (
    run VARCHAR(32) NOT NULL,
    "plan" BLOB NOT NULL,
    plan_digest VARCHAR(64) NOT NULL,
    seed BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run)
);
CREATE TABLE budget_account (
    scope VARCHAR(16) NOT NULL,
    epoch VARCHAR(64) NOT NULL,
    cap_units BIGINT NOT NULL,
    delta VARCHAR(40) NOT NULL,
    PRIMARY KEY (scope, epoch)
);
CREATE TABLE budget_reserve (
    run VARCHAR(32) NOT NULL,
    scope VARCHAR(16) NOT NULL,
    epoch VARCHAR(64) NOT NULL,
    units BIGINT NOT NULL,
    state VARCHAR(8) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run, scope)
);
CREATE TABLE budget_entry (
    run VARCHAR(32) NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    scope VARCHAR(16) NOT NULL,
    epoch VARCHAR(64) NOT NULL,
    units BIGINT NOT NULL,
    partners INTEGER NOT NULL,
    dimension INTEGER NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run, round, attempt, kind)
);
CREATE TABLE overlaps (
    question VARCHAR(64) NOT NULL,
    run VARCHAR(32) NOT NULL,
    release VARCHAR(64) NOT NULL,
    "plan" BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    entry BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (question)
);
CREATE INDEX ix_overlaps_release ON overlaps (release);
CREATE TABLE joins (
    run VARCHAR(32) NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    context VARCHAR(64) NOT NULL,
    number INTEGER NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run, round, attempt, kind)
);
CREATE TABLE closed_sums (
    run VARCHAR(32) NOT NULL,
    number INTEGER NOT NULL,
    request BLOB NOT NULL,
    joined VARCHAR(64) NOT NULL,
    total BLOB NOT NULL,
    PRIMARY KEY (run, number)
);
CREATE TABLE disclosures (
    number INTEGER NOT NULL,
    at BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    run VARCHAR(32) NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE models (
    version VARCHAR(64) NOT NULL,
    document BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE votes (
    version VARCHAR(64) NOT NULL,
    accept BOOLEAN NOT NULL,
    reason VARCHAR(64) NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE stability (
    version VARCHAR(64) NOT NULL,
    run VARCHAR(32) NOT NULL,
    premises VARCHAR(64) NOT NULL,
    agreement FLOAT,
    changes FLOAT,
    at BIGINT NOT NULL,
    PRIMARY KEY (version)
);
CREATE INDEX ix_stability_run ON stability (run);
CREATE TABLE witnessed_heads (
    size BIGINT NOT NULL,
    root BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (size)
);
CREATE TABLE own_log_entries (
    number INTEGER NOT NULL,
    type VARCHAR(32) NOT NULL,
    run VARCHAR(32) NOT NULL,
    data BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX ix_own_log_entries_run ON own_log_entries (run);
CREATE TABLE log_mirror (
    number BIGINT NOT NULL,
    type VARCHAR(32) NOT NULL,
    own BOOLEAN NOT NULL,
    data BLOB NOT NULL,
    leaf BLOB NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX log_mirror_type ON log_mirror (type, own);
CREATE TABLE seen_heads (
    size BIGINT NOT NULL,
    note BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (size)
);
CREATE TABLE revoked (
    identity VARCHAR(64) NOT NULL,
    member VARCHAR(32) NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (identity)
);
CREATE TABLE incidents (
    number INTEGER NOT NULL,
    kind VARCHAR(32) NOT NULL,
    text TEXT NOT NULL,
    held BLOB NOT NULL,
    shown BLOB NOT NULL,
    at BIGINT NOT NULL,
    settled_at BIGINT,
    PRIMARY KEY (number)
);
CREATE TABLE replay_runs (
    run VARCHAR(32) NOT NULL,
    manifest BLOB NOT NULL,
    schema BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run)
);
CREATE TABLE replay_attempts (
    run VARCHAR(32) NOT NULL,
    round INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    request BLOB NOT NULL,
    joins BLOB NOT NULL,
    rows VARCHAR(64) NOT NULL,
    words BLOB,
    at BIGINT NOT NULL,
    PRIMARY KEY (run, round, attempt, kind)
);
CREATE TABLE audit_entries (
    leaf VARCHAR(64) NOT NULL,
    type VARCHAR(32) NOT NULL,
    run VARCHAR(32) NOT NULL,
    data BLOB NOT NULL,
    answered_at BIGINT,
    at BIGINT NOT NULL,
    PRIMARY KEY (leaf)
);
CREATE INDEX ix_audit_entries_run ON audit_entries (run);
INSERT INTO schema_version VALUES (1);
