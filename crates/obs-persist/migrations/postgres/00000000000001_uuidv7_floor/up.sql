CREATE FUNCTION obs.uuidv7_floor(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    pg_catalog.lpad(
        pg_catalog.to_hex(pg_catalog.floor(EXTRACT(epoch FROM at) * 1000)::bigint), 12, '0'
    ) || '00000000000000000000'
)::uuid;

COMMENT ON FUNCTION obs.uuidv7_floor(timestamptz) IS
'The smallest run_id of a run that started at this time or later. Partitions are ranges of run_id, '
'so bound it beside started_at and only the days that matter are read: '
'WHERE run_id >= obs.uuidv7_floor(now() - interval ''1 hour'') AND started_at >= now() - interval ''1 hour''.';
