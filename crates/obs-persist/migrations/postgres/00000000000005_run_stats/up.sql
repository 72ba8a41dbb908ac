CREATE VIEW obs.run_stats AS
WITH weighted AS (
    SELECT
        kind,
        realm,
        strategy_id,
        strategy_version,
        run_id,
        status,
        started_at,
        duration_ns,
        1 / nullif(inclusion_probability, 0) AS weight
    FROM obs.run
),
ranked AS (
    SELECT
        weighted.*,
        sum(weight) OVER (
            PARTITION BY kind, realm, strategy_id, strategy_version ORDER BY duration_ns, run_id
        ) AS weight_so_far,
        sum(weight) OVER (PARTITION BY kind, realm, strategy_id, strategy_version) AS weight_whole
    FROM weighted
)
SELECT
    kind,
    realm,
    strategy_id,
    strategy_version,
    count(*) AS rows_kept,
    sum(weight) AS runs,
    coalesce(sum(weight) FILTER (WHERE status NOT IN ('ok', 'cancelled')), 0) AS failures,
    coalesce(sum(weight) FILTER (WHERE status = 'cancelled'), 0) AS cancelled,
    coalesce(sum(weight) FILTER (WHERE status NOT IN ('ok', 'cancelled')), 0) / sum(weight) AS error_rate,
    sum(weight * duration_ns) / sum(weight) / 1e9 AS duration_mean_s,
    (min(duration_ns) FILTER (WHERE weight_so_far >= 0.50 * weight_whole))::float8 / 1e9 AS duration_p50_s,
    (min(duration_ns) FILTER (WHERE weight_so_far >= 0.95 * weight_whole))::float8 / 1e9 AS duration_p95_s,
    (min(duration_ns) FILTER (WHERE weight_so_far >= 0.99 * weight_whole))::float8 / 1e9 AS duration_p99_s,
    min(started_at) AS first_started_at,
    max(started_at) AS last_started_at
FROM ranked
GROUP BY kind, realm, strategy_id, strategy_version;

CREATE VIEW obs.run_stats_daily AS
WITH weighted AS (
    SELECT
        (started_at AT TIME ZONE 'UTC')::date AS day,
        kind,
        realm,
        strategy_id,
        strategy_version,
        run_id,
        status,
        started_at,
        duration_ns,
        1 / nullif(inclusion_probability, 0) AS weight
    FROM obs.run
),
ranked AS (
    SELECT
        weighted.*,
        sum(weight) OVER (
            PARTITION BY day, kind, realm, strategy_id, strategy_version ORDER BY duration_ns, run_id
        ) AS weight_so_far,
        sum(weight) OVER (PARTITION BY day, kind, realm, strategy_id, strategy_version) AS weight_whole
    FROM weighted
)
SELECT
    day,
    kind,
    realm,
    strategy_id,
    strategy_version,
    count(*) AS rows_kept,
    sum(weight) AS runs,
    coalesce(sum(weight) FILTER (WHERE status NOT IN ('ok', 'cancelled')), 0) AS failures,
    coalesce(sum(weight) FILTER (WHERE status = 'cancelled'), 0) AS cancelled,
    coalesce(sum(weight) FILTER (WHERE status NOT IN ('ok', 'cancelled')), 0) / sum(weight) AS error_rate,
    sum(weight * duration_ns) / sum(weight) / 1e9 AS duration_mean_s,
    (min(duration_ns) FILTER (WHERE weight_so_far >= 0.50 * weight_whole))::float8 / 1e9 AS duration_p50_s,
    (min(duration_ns) FILTER (WHERE weight_so_far >= 0.95 * weight_whole))::float8 / 1e9 AS duration_p95_s,
    (min(duration_ns) FILTER (WHERE weight_so_far >= 0.99 * weight_whole))::float8 / 1e9 AS duration_p99_s,
    min(started_at) AS first_started_at,
    max(started_at) AS last_started_at
FROM ranked
GROUP BY day, kind, realm, strategy_id, strategy_version;

COMMENT ON VIEW obs.run_stats IS
'Per strategy version: how many runs, how many failed, how long they took. Rows are a sample: failures, slow runs and first runs are all there, others by chance. Each row stands for 1 / inclusion_probability runs and every figure is weighted by that, so it is an estimate about all runs; rows_kept says on how many rows it rests. Exact totals are in the metrics.';

COMMENT ON VIEW obs.run_stats_daily IS
'obs.run_stats per UTC day of started_at. Rows are a sample: failures, slow runs and first runs are all there, others by chance. Each row stands for 1 / inclusion_probability runs and every figure is weighted by that, so it is an estimate about all runs; rows_kept says on how many rows it rests. Exact totals are in the metrics.';

COMMENT ON COLUMN obs.run_stats.rows_kept IS 'Rows that the figures rest on.';

COMMENT ON COLUMN obs.run_stats.runs IS 'Estimated runs.';

COMMENT ON COLUMN obs.run_stats.failures IS 'Estimated failures: every status but ok and cancelled.';

COMMENT ON COLUMN obs.run_stats.cancelled IS 'Estimated cancelled runs.';

COMMENT ON COLUMN obs.run_stats.error_rate IS 'Estimated share of failures among all runs, cancelled ones included.';

COMMENT ON COLUMN obs.run_stats.duration_mean_s IS 'Estimated mean, in seconds.';

COMMENT ON COLUMN obs.run_stats.duration_p50_s IS 'Weighted median: the duration that at least half of the runs did not exceed, in seconds.';

COMMENT ON COLUMN obs.run_stats.duration_p95_s IS 'The same for 95 % of the runs.';

COMMENT ON COLUMN obs.run_stats.duration_p99_s IS 'The same for 99 % of the runs.';

COMMENT ON COLUMN obs.run_stats_daily.rows_kept IS 'Rows that the figures rest on.';

COMMENT ON COLUMN obs.run_stats_daily.runs IS 'Estimated runs.';

COMMENT ON COLUMN obs.run_stats_daily.failures IS 'Estimated failures: every status but ok and cancelled.';

COMMENT ON COLUMN obs.run_stats_daily.cancelled IS 'Estimated cancelled runs.';

COMMENT ON COLUMN obs.run_stats_daily.error_rate IS 'Estimated share of failures among all runs, cancelled ones included.';

COMMENT ON COLUMN obs.run_stats_daily.duration_mean_s IS 'Estimated mean, in seconds.';

COMMENT ON COLUMN obs.run_stats_daily.duration_p50_s IS 'Weighted median: the duration that at least half of the runs did not exceed, in seconds.';

COMMENT ON COLUMN obs.run_stats_daily.duration_p95_s IS 'The same for 95 % of the runs.';

COMMENT ON COLUMN obs.run_stats_daily.duration_p99_s IS 'The same for 99 % of the runs.';
