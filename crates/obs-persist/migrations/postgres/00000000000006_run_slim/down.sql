-- A view on which others stand cannot lose a column: it stays until the view goes.
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
    false AS slim
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
    false AS slim
FROM obs.run_error;

ALTER TABLE obs.run_ok DROP COLUMN slim;

ALTER TABLE obs.run_error DROP COLUMN slim;
