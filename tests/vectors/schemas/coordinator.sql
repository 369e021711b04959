CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE members (
    partner VARCHAR(32) NOT NULL,
    member_index INTEGER NOT NULL,
    role VARCHAR(16) NOT NULL,
    identity VARCHAR(64) NOT NULL,
    agreement VARCHAR(64) NOT NULL,
    witness VARCHAR(64) NOT NULL,
    tls_spki VARCHAR(64) NOT NULL,
    families TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (partner),
    UNIQUE (member_index)
);
CREATE TABLE tokens (
    secret_sha256 VARCHAR(64) NOT NULL,
    partner VARCHAR(32) NOT NULL,
    role VARCHAR(16) NOT NULL,
    families TEXT NOT NULL,
    expires BIGINT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (secret_sha256)
);
CREATE TABLE manifests (
    digest VARCHAR(64) NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    schema BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (digest)
);
CREATE TABLE runs (
    number INTEGER NOT NULL,
    run VARCHAR(32) NOT NULL,
    "plan" BLOB NOT NULL,
    plan_digest VARCHAR(64) NOT NULL,
    status VARCHAR(16) NOT NULL,
    detail TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (run)
);
CREATE TABLE checkpoints (
    run VARCHAR(32) NOT NULL,
    stage VARCHAR(16) NOT NULL,
    round INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (run)
);
CREATE TABLE sums (
    run VARCHAR(32) NOT NULL,
    number INTEGER NOT NULL,
    request BLOB NOT NULL,
    joined VARCHAR(64) NOT NULL,
    total BLOB NOT NULL,
    PRIMARY KEY (run, number)
);
CREATE TABLE upload_words (
    run VARCHAR(32) NOT NULL,
    number INTEGER NOT NULL,
    joined VARCHAR(64) NOT NULL,
    words BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run, number)
);
CREATE TABLE run_events (
    number INTEGER NOT NULL,
    run VARCHAR(32) NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX ix_run_events_run ON run_events (run);
CREATE TABLE models (
    number INTEGER NOT NULL,
    version VARCHAR(64) NOT NULL,
    run VARCHAR(32) NOT NULL,
    document BLOB NOT NULL,
    status VARCHAR(16) NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (version)
);
CREATE TABLE release_gates (
    number INTEGER NOT NULL,
    version VARCHAR(64) NOT NULL,
    passed BOOLEAN NOT NULL,
    audit VARCHAR(64) NOT NULL,
    entry BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX ix_release_gates_version ON release_gates (version);
CREATE TABLE empirical_audits (
    number INTEGER NOT NULL,
    digest VARCHAR(64) NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (digest)
);
CREATE TABLE activations (
    number INTEGER NOT NULL,
    version VARCHAR(64) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE votes (
    version VARCHAR(64) NOT NULL,
    member VARCHAR(32) NOT NULL,
    accept BOOLEAN NOT NULL,
    reason VARCHAR(64) NOT NULL,
    number BIGINT NOT NULL,
    signature BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (version, member)
);
CREATE TABLE log_entries (
    number BIGINT NOT NULL,
    data BLOB NOT NULL,
    leaf BLOB NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX ix_log_entries_leaf ON log_entries (leaf);
CREATE TABLE log_heads (
    size BIGINT NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (size)
);
CREATE TABLE tls_keys (
    spki VARCHAR(64) NOT NULL,
    partner VARCHAR(32) NOT NULL,
    identity VARCHAR(64) NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (spki)
);
CREATE INDEX ix_tls_keys_partner ON tls_keys (partner);
CREATE TABLE revocations (
    number INTEGER NOT NULL,
    member VARCHAR(32) NOT NULL,
    identity VARCHAR(64) NOT NULL,
    actor VARCHAR(32) NOT NULL,
    reason VARCHAR(16) NOT NULL,
    effective BOOLEAN NOT NULL,
    public_keys TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number)
);
CREATE INDEX ix_revocations_identity ON revocations (identity);
CREATE TABLE governing_entries (
    number BIGINT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE spent_days (
    partner VARCHAR(32) NOT NULL,
    account VARCHAR(16) NOT NULL,
    epoch VARCHAR(64) NOT NULL,
    day VARCHAR(10) NOT NULL,
    units TEXT NOT NULL,
    PRIMARY KEY (partner, account, epoch, day)
);
CREATE TABLE governing_seen (
    size BIGINT NOT NULL
);
CREATE TABLE inquiries (
    number INTEGER NOT NULL,
    request VARCHAR(32) NOT NULL,
    requester VARCHAR(32) NOT NULL,
    roster_version BIGINT NOT NULL,
    purpose VARCHAR(16) NOT NULL,
    model VARCHAR(64) NOT NULL,
    consents VARCHAR(97) NOT NULL,
    context VARCHAR(64) NOT NULL,
    persons INTEGER NOT NULL,
    began_ms BIGINT NOT NULL,
    ended_ms BIGINT NOT NULL,
    outcome VARCHAR(16) NOT NULL,
    responders TEXT NOT NULL,
    retry_of VARCHAR(32),
    PRIMARY KEY (number)
);
CREATE INDEX ix_inquiries_request ON inquiries (request);
CREATE TABLE inquiry_batches (
    second BIGINT NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (second)
);
CREATE TABLE epochs (
    number INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    manifest VARCHAR(64) NOT NULL,
    status VARCHAR(16) NOT NULL,
    detail TEXT NOT NULL,
    document BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (epoch, attempt)
);
CREATE TABLE epoch_entries (
    number INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (number)
);
CREATE TABLE overlaps (
    question VARCHAR(64) NOT NULL,
    release VARCHAR(64) NOT NULL,
    "plan" BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (question)
);
CREATE INDEX ix_overlaps_release ON overlaps (release);
CREATE TABLE tables (
    number INTEGER NOT NULL,
    release VARCHAR(64) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    figure VARCHAR(64) NOT NULL,
    kind VARCHAR(32) NOT NULL,
    first VARCHAR(8) NOT NULL,
    last VARCHAR(8) NOT NULL,
    run VARCHAR(32) NOT NULL,
    document BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (release),
    UNIQUE (digest)
);
CREATE INDEX ix_tables_figure ON tables (figure);
CREATE TABLE manifest_signatures (
    digest VARCHAR(64) NOT NULL,
    member VARCHAR(32) NOT NULL,
    signature BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (digest, member),
    FOREIGN KEY(digest) REFERENCES manifests (digest)
);
CREATE TABLE heads (
    version VARCHAR(64) NOT NULL,
    base VARCHAR(64) NOT NULL,
    PRIMARY KEY (version),
    FOREIGN KEY(version) REFERENCES models (version)
);
CREATE TABLE models_beside (
    version VARCHAR(64) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    PRIMARY KEY (version),
    FOREIGN KEY(version) REFERENCES models (version)
);
INSERT INTO schema_version VALUES (1);
