-- The audit trail: who did what. Entries are never sampled, and travel and are kept as errors are. One is
-- written beside the transaction that it is about, not in it.
CREATE TABLE audit (
    audit_id       BLOB    NOT NULL PRIMARY KEY, -- UUIDv7: begins with its time in milliseconds
    epoch          BLOB    NOT NULL,             -- the process that wrote it
    module         TEXT    NOT NULL,             -- the part of the program that wrote it
    level          TEXT    NOT NULL CHECK (level IN ('info', 'success', 'warn', 'error')),
    message        TEXT    NOT NULL,
    details        TEXT,                         -- JSON
    actor          TEXT,                         -- the id of a key, or a subject; the key for erasure
    correlation_id TEXT,                         -- the caller's
    run_id         BLOB,                         -- the run in whose body it was written
    trace_id       TEXT,                         -- W3C trace context
    span_id        TEXT,
    occurred_at    INTEGER NOT NULL,             -- microseconds since the Unix epoch
    inserted_at    INTEGER NOT NULL
        DEFAULT (CAST(round(unixepoch('subsec') * 1000000) AS INTEGER))
) STRICT;

CREATE INDEX audit_module ON audit (module, occurred_at);

CREATE INDEX audit_actor ON audit (actor, occurred_at);

-- For retention.
CREATE INDEX audit_occurred_at ON audit (occurred_at);

-- Entries of the audit trail whose actor it was.
ALTER TABLE erasure ADD COLUMN audit INTEGER NOT NULL DEFAULT 0;
