CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE decisions (
    number INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    application VARCHAR(64) NOT NULL,
    subject BLOB NOT NULL,
    at BIGINT NOT NULL,
    outcome VARCHAR(8) NOT NULL,
    grade VARCHAR(2) NOT NULL,
    input BLOB NOT NULL,
    decision BLOB NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (id)
);
CREATE INDEX ix_decisions_application ON decisions (application);
CREATE INDEX ix_decisions_subject ON decisions (subject);
CREATE TABLE idempotency_keys (
    "key" VARCHAR(64) NOT NULL,
    question VARCHAR(64) NOT NULL,
    decision VARCHAR(64) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY ("key")
);
CREATE INDEX ix_idempotency_keys_at ON idempotency_keys (at);
CREATE TABLE rule_files (
    digest VARCHAR(64) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    source BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (digest)
);
CREATE TABLE overrides (
    number INTEGER NOT NULL,
    decision VARCHAR(64) NOT NULL,
    document BLOB NOT NULL,
    note TEXT NOT NULL,
    "by" VARCHAR(64) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX ix_overrides_decision ON overrides (decision);
CREATE TABLE admission (
    one INTEGER NOT NULL,
    week VARCHAR(10) NOT NULL,
    "used_G1" BIGINT NOT NULL,
    "used_G2" BIGINT NOT NULL,
    "used_G3" BIGINT NOT NULL,
    "used_G4" BIGINT NOT NULL,
    "used_G5" BIGINT NOT NULL,
    phase VARCHAR(8) NOT NULL,
    stage INTEGER NOT NULL,
    good BIGINT NOT NULL,
    bad BIGINT NOT NULL,
    turn INTEGER NOT NULL,
    PRIMARY KEY (one)
);
CREATE TABLE grants (
    decision VARCHAR(64) NOT NULL,
    grade VARCHAR(2) NOT NULL,
    amount BIGINT NOT NULL,
    week VARCHAR(10) NOT NULL,
    turn INTEGER NOT NULL,
    released BOOLEAN NOT NULL,
    bad BOOLEAN,
    PRIMARY KEY (decision)
);
CREATE TABLE admission_orders (
    number INTEGER NOT NULL,
    document BLOB NOT NULL,
    signature BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE attestations (
    id VARCHAR(64) NOT NULL,
    subject BLOB NOT NULL,
    consent VARCHAR(64) NOT NULL,
    issued_on VARCHAR(10) NOT NULL,
    expires_on VARCHAR(10) NOT NULL,
    revoked_on VARCHAR(10),
    PRIMARY KEY (id)
);
CREATE INDEX ix_attestations_subject ON attestations (subject);
CREATE TABLE attestation_lists (
    issuer VARCHAR(64) NOT NULL,
    number INTEGER NOT NULL,
    digest VARCHAR(64) NOT NULL,
    listed_on VARCHAR(10) NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (issuer, number)
);
CREATE TABLE campaign_members (
    campaign VARCHAR(32) NOT NULL,
    line VARCHAR(64) NOT NULL,
    subject BLOB NOT NULL,
    tier VARCHAR(1) NOT NULL,
    wave INTEGER NOT NULL,
    held BOOLEAN NOT NULL,
    turn INTEGER NOT NULL,
    fate VARCHAR(16) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (campaign, line),
    UNIQUE (campaign, subject)
);
CREATE INDEX ix_campaign_members_subject ON campaign_members (subject);
CREATE TABLE closed_elsewhere (
    subject BLOB NOT NULL,
    closed BOOLEAN,
    "on" VARCHAR(10) NOT NULL,
    arm INTEGER,
    arm_on VARCHAR(10),
    PRIMARY KEY (subject)
);
CREATE TABLE helps (
    decision VARCHAR(64) NOT NULL,
    document BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (decision)
);
CREATE TABLE cost_sheets (
    digest VARCHAR(64) NOT NULL,
    decision VARCHAR(64) NOT NULL,
    product VARCHAR(64) NOT NULL,
    document BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (digest)
);
CREATE INDEX ix_cost_sheets_decision ON cost_sheets (decision);
CREATE TABLE sheet_showings (
    number INTEGER NOT NULL,
    sheet VARCHAR(64) NOT NULL,
    channel VARCHAR(16) NOT NULL,
    shown_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    PRIMARY KEY (number)
);
CREATE INDEX ix_sheet_showings_sheet ON sheet_showings (sheet);
CREATE TABLE addon_choices (
    sheet VARCHAR(64) NOT NULL,
    addon VARCHAR(64) NOT NULL,
    taken BOOLEAN NOT NULL,
    "on" VARCHAR(10) NOT NULL,
    PRIMARY KEY (sheet, addon)
);
CREATE TABLE contracts (
    decision VARCHAR(64) NOT NULL,
    sheet VARCHAR(64) NOT NULL,
    addons TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (decision)
);
CREATE TABLE restarts (
    line VARCHAR(64) NOT NULL,
    document BLOB NOT NULL,
    tier VARCHAR(1) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (line)
);
CREATE TABLE ladders (
    line VARCHAR(64) NOT NULL,
    old_limit BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    state BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (line)
);
CREATE TABLE ladder_steps (
    line VARCHAR(64) NOT NULL,
    number INTEGER NOT NULL,
    step VARCHAR(16) NOT NULL,
    "on" VARCHAR(10) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (line, number),
    UNIQUE (line, step, "on")
);
CREATE TABLE counselling_cases (
    "case" VARCHAR(64) NOT NULL,
    document BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY ("case")
);
CREATE TABLE counselling_follow_ups (
    "case" VARCHAR(64) NOT NULL,
    due_on VARCHAR(10) NOT NULL,
    done_on VARCHAR(10),
    PRIMARY KEY ("case", due_on)
);
CREATE TABLE sealed_batches (
    number INTEGER NOT NULL,
    until INTEGER NOT NULL,
    at BIGINT NOT NULL,
    count INTEGER NOT NULL,
    salt BLOB NOT NULL,
    commitment VARCHAR(64) NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE sealed_decisions (
    batch INTEGER NOT NULL,
    place INTEGER NOT NULL,
    decision VARCHAR(64) NOT NULL,
    salt BLOB NOT NULL,
    leaf VARCHAR(64) NOT NULL,
    erased BOOLEAN NOT NULL,
    PRIMARY KEY (batch, place)
);
CREATE INDEX ix_sealed_decisions_decision ON sealed_decisions (decision);
CREATE TABLE withdrawn_consents (
    subject BLOB NOT NULL,
    purpose VARCHAR(24) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (subject, purpose)
);
CREATE TABLE deletions (
    request VARCHAR(64) NOT NULL,
    document BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (request)
);
CREATE TABLE behaviour_models (
    number INTEGER NOT NULL,
    document BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE watched_months (
    line VARCHAR(128) NOT NULL,
    "on" VARCHAR(10) NOT NULL,
    subject BLOB NOT NULL,
    pd3 INTEGER,
    use VARCHAR(12) NOT NULL,
    stage INTEGER NOT NULL,
    clean_months INTEGER NOT NULL,
    paid_months INTEGER NOT NULL,
    triggers VARCHAR(128) NOT NULL,
    level INTEGER NOT NULL,
    signs VARCHAR(32) NOT NULL,
    since VARCHAR(10),
    expires VARCHAR(10),
    utilisation INTEGER,
    dsr BIGINT,
    income VARCHAR(12) NOT NULL,
    codes VARCHAR(32) NOT NULL,
    loss BIGINT NOT NULL,
    PRIMARY KEY (line, "on")
);
CREATE INDEX ix_watched_months_subject ON watched_months (subject);
CREATE TABLE watch_events (
    line VARCHAR(128) NOT NULL,
    sign VARCHAR(2) NOT NULL,
    "on" VARCHAR(10) NOT NULL,
    subject BLOB NOT NULL,
    PRIMARY KEY (line, sign, "on")
);
CREATE INDEX ix_watch_events_subject ON watch_events (subject);
INSERT INTO schema_version VALUES (1);
