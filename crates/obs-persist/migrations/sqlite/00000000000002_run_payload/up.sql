-- What a run took and did, apart from `run`, so that figures about runs never read it.
CREATE TABLE run_payload (
    run_id          BLOB    NOT NULL PRIMARY KEY, -- the same as in run
    input           TEXT,                         -- JSON
    input_bytes     INTEGER NOT NULL,             -- of the whole input
    input_truncated INTEGER NOT NULL,             -- `input` holds less than the whole
    attributes      TEXT,                         -- one JSON object
    trace           TEXT,                         -- JSON array: the executed nodes
    trace_total     INTEGER NOT NULL,             -- nodes that the whole trace had
    trace_kept      INTEGER NOT NULL,             -- nodes that `trace` holds
    trace_bytes     INTEGER NOT NULL              -- of the whole trace
) STRICT;
