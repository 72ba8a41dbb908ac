-- An instant change of the catalogue, however many rows there are.
ALTER TABLE obs.run_ok ADD COLUMN slim boolean NOT NULL DEFAULT false;

ALTER TABLE obs.run_error ADD COLUMN slim boolean NOT NULL DEFAULT false;

CREATE OR REPLACE VIEW obs.run AS
SELECT
    run_id,
    epoch,
    kind,
    realm,
    strategy_id,
    strategy_version,
    strategy_type,
    strategy_hash,
    subject,
    correlation_id,
    parent_run_id,
    status,
    error_type,
    error_message,
    error_node,
    value,
    case_name,
    started_at,
    finished_at,
    duration_ns,
    nodes,
    slow,
    keep_reason,
    inclusion_probability,
    sample_rate,
    trace_id,
    span_id,
    inserted_at,
    slim
FROM obs.run_ok
UNION ALL
SELECT
    run_id,
    epoch,
    kind,
    realm,
    strategy_id,
    strategy_version,
    strategy_type,
    strategy_hash,
    subject,
    correlation_id,
    parent_run_id,
    status,
    error_type,
    error_message,
    error_node,
    value,
    case_name,
    started_at,
    finished_at,
    duration_ns,
    nodes,
    slow,
    keep_reason,
    inclusion_probability,
    sample_rate,
    trace_id,
    span_id,
    inserted_at,
    slim
FROM obs.run_error;

COMMENT ON COLUMN obs.run.slim IS 'The same error had come so often in that minute that this row was left without input and trace.';
