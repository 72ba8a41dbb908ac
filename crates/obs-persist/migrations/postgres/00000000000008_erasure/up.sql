-- Erasing what was recorded about a subject, and keeping late copies of it out.

CREATE TABLE obs.erased (
    subject_hash bytea NOT NULL PRIMARY KEY,
    started_before timestamptz NOT NULL,
    forget_at timestamptz NOT NULL
);

COMMENT ON TABLE obs.erased IS
'Tombstones: runs of these subjects that began before started_before are not stored, wherever they come from. '
'They are forgotten at forget_at.';

COMMENT ON COLUMN obs.erased.subject_hash IS 'SHA-256 of the salt of obs.erasure_salt and the subject as it was stored.';

CREATE TABLE obs.erasure_salt (
    only_one boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_one),
    salt bytea NOT NULL
);

COMMENT ON TABLE obs.erasure_salt IS 'Without it, nobody can try out whom a hash in obs.erased and obs.erasure stands for.';

INSERT INTO obs.erasure_salt (salt)
VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

CREATE TABLE obs.erasure (
    erased_at timestamptz NOT NULL DEFAULT now(),
    erased_by text NOT NULL,
    role text NOT NULL DEFAULT session_user,
    subject_hashes bytea [] NOT NULL,
    rows_ok bigint NOT NULL,
    rows_error bigint NOT NULL,
    payloads bigint NOT NULL,
    files bigint NOT NULL
);

COMMENT ON TABLE obs.erasure IS 'What was erased, when, on whose word; whom it was about is not said.';

COMMENT ON COLUMN obs.erasure.erased_by IS 'Who asked for it, in their own words.';

COMMENT ON COLUMN obs.erasure.role IS 'Who was connected.';

COMMENT ON COLUMN obs.erasure.files IS 'Records in files: the spool and the quarantine.';

CREATE FUNCTION obs.subject_hash(subject text) RETURNS bytea
LANGUAGE sql STABLE STRICT
RETURN (SELECT pg_catalog.sha256(salt || pg_catalog.convert_to(subject, 'UTF8')) FROM obs.erasure_salt);

COMMENT ON FUNCTION obs.subject_hash(text) IS 'What stands for a subject in obs.erased and obs.erasure.';

-- Called once for each batch that is written, with its columns.
CREATE FUNCTION obs.erased_runs(run_ids uuid [], subjects text [], started_at timestamptz []) RETURNS uuid []
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    salt bytea;
BEGIN
    IF NOT EXISTS (SELECT FROM obs.erased) THEN
        RETURN '{}';
    END IF;
    -- As in obs.subject_hash, but read once.
    SELECT erasure_salt.salt INTO salt FROM obs.erasure_salt;
    RETURN coalesce((
        SELECT array_agg(run.id)
        FROM unnest(run_ids, subjects, started_at) AS run (id, subject, started)
        JOIN obs.erased ON erased.subject_hash = sha256(salt || convert_to(run.subject, 'UTF8'))
        WHERE run.started < erased.started_before AND now() < erased.forget_at
    ), '{}');
END
$$;

COMMENT ON FUNCTION obs.erased_runs(uuid [], text [], timestamptz []) IS
'Which of these runs must not be stored, because their subject was erased.';

CREATE FUNCTION obs.bury(subjects text [], started_before timestamptz, forget_at timestamptz) RETURNS bytea []
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM obs.erased WHERE erased.forget_at <= now();
    INSERT INTO obs.erased (subject_hash, started_before, forget_at)
    SELECT DISTINCT obs.subject_hash(subject), bury.started_before, bury.forget_at
    FROM unnest(subjects) AS subject
    ON CONFLICT (subject_hash) DO UPDATE
    SET started_before = greatest(erased.started_before, excluded.started_before),
        forget_at = greatest(erased.forget_at, excluded.forget_at);
    SELECT array_agg(obs.subject_hash(subject)) FROM unnest(subjects) AS subject;
END;

COMMENT ON FUNCTION obs.bury(text [], timestamptz, timestamptz) IS
'Sets the tombstones of a subject in all its forms, forgets old ones, and returns its hashes.';

CREATE FUNCTION obs.erase_from(class text, partition regclass, subjects text [], most integer)
RETURNS TABLE (rows_gone bigint, payloads_gone bigint)
LANGUAGE plpgsql STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[];
BEGIN
    rows_gone := 0;
    payloads_gone := 0;
    EXECUTE format(
        'SELECT array_agg(run_id) FROM (SELECT run_id FROM %s WHERE subject = ANY ($1) LIMIT $2) AS found', partition
    ) INTO ids USING subjects, most;
    IF ids IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    EXECUTE format('DELETE FROM obs.%I WHERE run_id = ANY ($1)', 'run_' || class || '_payload') USING ids;
    GET DIAGNOSTICS payloads_gone = ROW_COUNT;
    EXECUTE format('DELETE FROM %s WHERE run_id = ANY ($1)', partition) USING ids;
    GET DIAGNOSTICS rows_gone = ROW_COUNT;
    RETURN NEXT;
EXCEPTION
    -- Retention was here before us.
    WHEN undefined_table THEN
        RETURN NEXT;
END
$$;

COMMENT ON FUNCTION obs.erase_from(text, regclass, text [], integer) IS
'Deletes a bounded number of rows of a subject from a partition, with their payloads. There may be more.';
