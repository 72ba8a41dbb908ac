-- json, not jsonb: the text is stored as it came, at a third of the cost. Cast where you search.
CREATE TABLE obs.run_ok_payload (
    run_id uuid NOT NULL PRIMARY KEY,
    input json COMPRESSION lz4,
    input_bytes bigint NOT NULL,
    input_truncated boolean NOT NULL,
    attributes json COMPRESSION lz4,
    trace json COMPRESSION lz4,
    trace_total bigint NOT NULL,
    trace_kept bigint NOT NULL,
    trace_bytes bigint NOT NULL
) PARTITION BY RANGE (run_id);

COMMENT ON TABLE obs.run_ok_payload IS
'What the runs of obs.run_ok took and did, one row each. Read it through the view obs.run_payload.';

CREATE TABLE obs.run_error_payload (
    run_id uuid NOT NULL PRIMARY KEY,
    input json COMPRESSION lz4,
    input_bytes bigint NOT NULL,
    input_truncated boolean NOT NULL,
    attributes json COMPRESSION lz4,
    trace json COMPRESSION lz4,
    trace_total bigint NOT NULL,
    trace_kept bigint NOT NULL,
    trace_bytes bigint NOT NULL
) PARTITION BY RANGE (run_id);

COMMENT ON TABLE obs.run_error_payload IS
'What the runs of obs.run_error took and did, one row each. Read it through the view obs.run_payload.';
