-- The kept runs: every failure, every slow run, the first of each version, a sample of the rest.
-- Times are microseconds since the Unix epoch, ids are 16 bytes, truth is 0 or 1.
-- A row stands for 1 / inclusion_probability runs: weight every aggregate by that, or read
-- run_stats, which does.
CREATE TABLE run (
    run_id                BLOB    NOT NULL PRIMARY KEY, -- UUIDv7: begins with the run's start in milliseconds
    epoch                 BLOB    NOT NULL,             -- the process that recorded the run
    kind                  TEXT    NOT NULL,             -- the family of runs
    realm                 TEXT,                         -- the tenant
    strategy_id           TEXT    NOT NULL,             -- what was executed
    strategy_version      TEXT    NOT NULL,
    strategy_type         TEXT,
    strategy_hash         TEXT,                         -- of the strategy's content
    subject               TEXT,                         -- whose run it is; the key for erasure
    correlation_id        TEXT,                         -- the caller's
    parent_run_id         BLOB,                         -- the run that started this one
    status                TEXT    NOT NULL CHECK (
        status IN ('ok', 'error', 'timeout', 'limit', 'cancelled', 'panicked', 'lost')
    ),
    error_type            TEXT,                         -- low-cardinality code; failures only
    error_message         TEXT,
    error_node            TEXT,                         -- the node that failed
    value                 REAL,                         -- the number that the run produced
    case_name             TEXT,                         -- the case that the run chose
    started_at            INTEGER NOT NULL,
    finished_at           INTEGER NOT NULL,
    duration_ns           INTEGER NOT NULL,             -- on a monotonic clock
    nodes                 INTEGER NOT NULL,             -- executed nodes
    slow                  INTEGER NOT NULL,             -- took longer than the SLO
    keep_reason           TEXT    NOT NULL,             -- failure, slow, cancelled, first, forced, sampled
    inclusion_probability REAL    NOT NULL,             -- the chance that a run like this one is kept
    sample_rate           REAL    NOT NULL,             -- the rate in force
    trace_id              TEXT,                         -- W3C trace context at the start
    span_id               TEXT,
    inserted_at           INTEGER NOT NULL
        DEFAULT (CAST(round(unixepoch('subsec') * 1000000) AS INTEGER))
) STRICT;

CREATE INDEX run_strategy ON run (strategy_id, status, started_at);

CREATE INDEX run_realm ON run (realm, started_at);
