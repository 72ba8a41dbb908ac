-- Two parents, because a primary key cannot carry two retentions: each class drops its own days.
-- Ranges of run_id are ranges of time, so the key stays exact and writing again stays without effect.
CREATE TABLE obs.run_ok (
    run_id uuid NOT NULL PRIMARY KEY,
    epoch uuid NOT NULL,
    kind text NOT NULL,
    realm text,
    strategy_id text NOT NULL,
    strategy_version text NOT NULL,
    strategy_type text,
    strategy_hash text,
    subject text,
    correlation_id text,
    parent_run_id uuid,
    status text NOT NULL CONSTRAINT run_ok_status CHECK (status IN ('ok', 'cancelled')),
    error_type text,
    error_message text,
    error_node text,
    value double precision,
    case_name text,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    duration_ns bigint NOT NULL,
    nodes bigint NOT NULL,
    slow boolean NOT NULL,
    keep_reason text NOT NULL,
    inclusion_probability double precision NOT NULL,
    sample_rate double precision NOT NULL,
    trace_id text,
    span_id text,
    inserted_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (run_id);

CREATE INDEX run_ok_strategy ON obs.run_ok (strategy_id, status, started_at);

CREATE INDEX run_ok_realm ON obs.run_ok (realm, started_at);

CREATE INDEX run_ok_started_at ON obs.run_ok USING brin (started_at);

COMMENT ON TABLE obs.run_ok IS
'The kept runs that did not fail, partitioned by UTC day. Read them through the view obs.run.';

CREATE TABLE obs.run_error (
    run_id uuid NOT NULL PRIMARY KEY,
    epoch uuid NOT NULL,
    kind text NOT NULL,
    realm text,
    strategy_id text NOT NULL,
    strategy_version text NOT NULL,
    strategy_type text,
    strategy_hash text,
    subject text,
    correlation_id text,
    parent_run_id uuid,
    status text NOT NULL CONSTRAINT run_error_status CHECK (status IN ('error', 'timeout', 'limit', 'panicked', 'lost')),
    error_type text,
    error_message text,
    error_node text,
    value double precision,
    case_name text,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    duration_ns bigint NOT NULL,
    nodes bigint NOT NULL,
    slow boolean NOT NULL,
    keep_reason text NOT NULL,
    inclusion_probability double precision NOT NULL,
    sample_rate double precision NOT NULL,
    trace_id text,
    span_id text,
    inserted_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (run_id);

CREATE INDEX run_error_strategy ON obs.run_error (strategy_id, status, started_at);

CREATE INDEX run_error_realm ON obs.run_error (realm, started_at);

CREATE INDEX run_error_started_at ON obs.run_error USING brin (started_at);

COMMENT ON TABLE obs.run_error IS
'The runs that failed: all of them, partitioned by UTC day. Read them through the view obs.run.';
