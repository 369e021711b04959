CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE epoch_seeds (
    epoch INTEGER NOT NULL, attempt INTEGER NOT NULL, seed BLOB NOT NULL,
    PRIMARY KEY (epoch, attempt)) WITHOUT ROWID;
CREATE TABLE epoch_shares (
    epoch INTEGER NOT NULL, attempt INTEGER NOT NULL, position INTEGER NOT NULL,
    share BLOB NOT NULL, record BLOB, at INTEGER NOT NULL,
    PRIMARY KEY (epoch, attempt)) WITHOUT ROWID;
CREATE TABLE pseudonyms (
    epoch INTEGER NOT NULL, subject BLOB NOT NULL, token BLOB NOT NULL,
    expires INTEGER NOT NULL, PRIMARY KEY (epoch, subject)) WITHOUT ROWID;
CREATE INDEX pseudonyms_expiring ON pseudonyms (expires) WHERE expires > 0;
CREATE TABLE requests (
    id TEXT PRIMARY KEY, requester TEXT NOT NULL, purpose TEXT NOT NULL,
    persons INTEGER NOT NULL, context TEXT NOT NULL, consents TEXT NOT NULL,
    at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX requests_at ON requests (at);
CREATE TABLE guard (
    requester TEXT NOT NULL, subject BLOB NOT NULL, roster BLOB NOT NULL,
    request TEXT NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (requester, subject, roster)) WITHOUT ROWID;
CREATE INDEX guard_at ON guard (at_ms);
CREATE TABLE quotas (
    requester TEXT NOT NULL, kind TEXT NOT NULL, level INTEGER NOT NULL,
    at INTEGER NOT NULL, day INTEGER NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (requester, kind)) WITHOUT ROWID;
CREATE TABLE withdrawals (
    subject BLOB NOT NULL, purpose TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (subject, purpose)) WITHOUT ROWID;
CREATE TABLE generations (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE asked (
    key TEXT PRIMARY KEY, question TEXT NOT NULL, answer BLOB NOT NULL,
    at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX asked_at ON asked (at);
CREATE TABLE access_log (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, inquirer TEXT NOT NULL,
    subject BLOB NOT NULL, purpose TEXT NOT NULL, consent BLOB NOT NULL,
    context TEXT NOT NULL, roster INTEGER NOT NULL, model TEXT NOT NULL, head TEXT NOT NULL,
    band TEXT NOT NULL, result TEXT NOT NULL);
CREATE INDEX access_log_at ON access_log (at);
CREATE TABLE evaluated (
    day INTEGER NOT NULL, epoch INTEGER NOT NULL, points INTEGER NOT NULL,
    PRIMARY KEY (day, epoch)) WITHOUT ROWID;
CREATE TABLE faults (
    day INTEGER NOT NULL, epoch INTEGER NOT NULL, holder TEXT NOT NULL,
    request TEXT NOT NULL, PRIMARY KEY (day, epoch, holder)) WITHOUT ROWID;
INSERT INTO schema_version VALUES (1);
