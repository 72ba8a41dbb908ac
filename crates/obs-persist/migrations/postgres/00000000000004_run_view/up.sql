CREATE VIEW obs.run AS
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
    inserted_at
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
    inserted_at
FROM obs.run_error;

COMMENT ON VIEW obs.run IS
'Every kept run, of both classes. Rows are a sample: weight every aggregate by 1 / inclusion_probability, or read obs.run_stats, which does.';

COMMENT ON COLUMN obs.run.run_id IS 'UUIDv7: begins with the run''s start in milliseconds; see obs.uuidv7_floor.';

COMMENT ON COLUMN obs.run.epoch IS 'The process that recorded the run; equals service.instance.id unless that is configured.';

COMMENT ON COLUMN obs.run.kind IS 'The family of runs.';

COMMENT ON COLUMN obs.run.realm IS 'The tenant.';

COMMENT ON COLUMN obs.run.strategy_id IS 'What was executed.';

COMMENT ON COLUMN obs.run.strategy_version IS 'Its version.';

COMMENT ON COLUMN obs.run.strategy_type IS 'Its type, such as chain or workflow.';

COMMENT ON COLUMN obs.run.strategy_hash IS 'A hash of its content.';

COMMENT ON COLUMN obs.run.subject IS 'Whose run it is; the key for erasure.';

COMMENT ON COLUMN obs.run.correlation_id IS 'The caller''s id for what the run belongs to.';

COMMENT ON COLUMN obs.run.parent_run_id IS 'The run that started this one.';

COMMENT ON COLUMN obs.run.status IS 'How it ended: ok or cancelled (in run_ok); error, timeout, limit, panicked or lost (in run_error).';

COMMENT ON COLUMN obs.run.error_type IS 'Low-cardinality code; failures only.';

COMMENT ON COLUMN obs.run.error_message IS 'What the error said.';

COMMENT ON COLUMN obs.run.error_node IS 'The node that failed.';

COMMENT ON COLUMN obs.run.value IS 'The number that the run produced.';

COMMENT ON COLUMN obs.run.case_name IS 'The case that the run chose.';

COMMENT ON COLUMN obs.run.duration_ns IS 'On a monotonic clock; finished_at - started_at is on the wall clock.';

COMMENT ON COLUMN obs.run.nodes IS 'Executed nodes: the cost of the run.';

COMMENT ON COLUMN obs.run.slow IS 'Took longer than the SLO.';

COMMENT ON COLUMN obs.run.keep_reason IS 'Why it was kept: failure, slow, cancelled, first, forced or sampled.';

COMMENT ON COLUMN obs.run.inclusion_probability IS 'The chance that a run like this one is kept, in (0, 1]: the row stands for 1 / inclusion_probability runs.';

COMMENT ON COLUMN obs.run.sample_rate IS 'The sample rate in force.';

COMMENT ON COLUMN obs.run.trace_id IS 'W3C trace id at the run''s start.';

COMMENT ON COLUMN obs.run.span_id IS 'W3C span id at the run''s start.';

COMMENT ON COLUMN obs.run.inserted_at IS 'When this database took the row.';

CREATE VIEW obs.run_payload AS
SELECT
    run_id,
    input,
    input_bytes,
    input_truncated,
    attributes,
    trace,
    trace_total,
    trace_kept,
    trace_bytes
FROM obs.run_ok_payload
UNION ALL
SELECT
    run_id,
    input,
    input_bytes,
    input_truncated,
    attributes,
    trace,
    trace_total,
    trace_kept,
    trace_bytes
FROM obs.run_error_payload;

COMMENT ON VIEW obs.run_payload IS
'Input, attributes and trace of every kept run, apart from obs.run so that figures about runs never read them. Join on run_id.';

COMMENT ON COLUMN obs.run_payload.input IS 'The input, redacted, as the application gave it.';

COMMENT ON COLUMN obs.run_payload.input_bytes IS 'Size of the whole input.';

COMMENT ON COLUMN obs.run_payload.input_truncated IS 'input holds less than the whole.';

COMMENT ON COLUMN obs.run_payload.attributes IS 'Whatever else the run said about itself: one object.';

COMMENT ON COLUMN obs.run_payload.trace IS 'The executed nodes, in order: an array.';

COMMENT ON COLUMN obs.run_payload.trace_total IS 'Nodes that the whole trace had.';

COMMENT ON COLUMN obs.run_payload.trace_kept IS 'Nodes that trace holds.';

COMMENT ON COLUMN obs.run_payload.trace_bytes IS 'Size of the whole trace.';
