-- Per strategy version: how many runs, how many failed, how long they took.
--
-- Rows are a sample: failures, slow runs and first runs are all there, others by chance. Each row
-- stands for 1 / inclusion_probability runs, and every figure here is weighted by that, so it is
-- an estimate about *all* runs. rows_kept says on how many rows it rests; exact totals are in the
-- metrics.
--
-- error_rate: share of runs that failed, of all runs, cancelled ones included.
-- duration_p50_s …: weighted quantiles; the duration that at least that share of runs did not exceed.
CREATE VIEW run_stats AS
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
        1.0 / nullif(inclusion_probability, 0) AS weight
    FROM run
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
    min(duration_ns) FILTER (WHERE weight_so_far >= 0.50 * weight_whole) / 1e9 AS duration_p50_s,
    min(duration_ns) FILTER (WHERE weight_so_far >= 0.95 * weight_whole) / 1e9 AS duration_p95_s,
    min(duration_ns) FILTER (WHERE weight_so_far >= 0.99 * weight_whole) / 1e9 AS duration_p99_s,
    min(started_at) AS first_started_at,
    max(started_at) AS last_started_at
FROM ranked
GROUP BY kind, realm, strategy_id, strategy_version;

-- The same per UTC day.
--
-- Rows are a sample: failures, slow runs and first runs are all there, others by chance. Each row
-- stands for 1 / inclusion_probability runs, and every figure here is weighted by that, so it is
-- an estimate about *all* runs. rows_kept says on how many rows it rests; exact totals are in the
-- metrics.
--
-- error_rate: share of runs that failed, of all runs, cancelled ones included.
-- duration_p50_s …: weighted quantiles; the duration that at least that share of runs did not exceed.
CREATE VIEW run_stats_daily AS
WITH weighted AS (
    SELECT
        date(started_at / 1000000, 'unixepoch') AS day,
        kind,
        realm,
        strategy_id,
        strategy_version,
        run_id,
        status,
        started_at,
        duration_ns,
        1.0 / nullif(inclusion_probability, 0) AS weight
    FROM run
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
    min(duration_ns) FILTER (WHERE weight_so_far >= 0.50 * weight_whole) / 1e9 AS duration_p50_s,
    min(duration_ns) FILTER (WHERE weight_so_far >= 0.95 * weight_whole) / 1e9 AS duration_p95_s,
    min(duration_ns) FILTER (WHERE weight_so_far >= 0.99 * weight_whole) / 1e9 AS duration_p99_s,
    min(started_at) AS first_started_at,
    max(started_at) AS last_started_at
FROM ranked
GROUP BY day, kind, realm, strategy_id, strategy_version;
