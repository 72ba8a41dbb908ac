-- The audit trail: who did what. Entries are never sampled, and travel and are kept as errors are.
CREATE TABLE obs.audit (
    audit_id uuid NOT NULL PRIMARY KEY,
    epoch uuid NOT NULL,
    module text NOT NULL,
    level text NOT NULL CONSTRAINT audit_level CHECK (level IN ('info', 'success', 'warn', 'error')),
    message text NOT NULL,
    details json COMPRESSION lz4,
    actor text,
    correlation_id text,
    run_id uuid,
    trace_id text,
    span_id text,
    occurred_at timestamptz NOT NULL,
    inserted_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (audit_id);

CREATE INDEX audit_module ON obs.audit (module, occurred_at);

CREATE INDEX audit_actor ON obs.audit (actor, occurred_at);

CREATE INDEX audit_occurred_at ON obs.audit USING brin (occurred_at);

COMMENT ON TABLE obs.audit IS
'The audit trail, partitioned by UTC day: who did what. An entry is written beside the transaction that it is about, not in it.';

COMMENT ON COLUMN obs.audit.audit_id IS 'UUIDv7: begins with the time of the entry in milliseconds; see obs.uuidv7_floor.';

COMMENT ON COLUMN obs.audit.epoch IS 'The process that wrote the entry.';

COMMENT ON COLUMN obs.audit.module IS 'The part of the program that wrote it.';

COMMENT ON COLUMN obs.audit.level IS 'How it is meant: info, success, warn or error.';

COMMENT ON COLUMN obs.audit.message IS 'What happened, redacted.';

COMMENT ON COLUMN obs.audit.details IS 'Whatever else was said, redacted.';

COMMENT ON COLUMN obs.audit.actor IS 'Who acted: the id of a key, or a subject, stored as subjects are; the key for erasure.';

COMMENT ON COLUMN obs.audit.correlation_id IS 'The caller''s id for what the entry belongs to.';

COMMENT ON COLUMN obs.audit.run_id IS 'The run in whose body it was written; there is a row of it if it was kept.';

COMMENT ON COLUMN obs.audit.trace_id IS 'W3C trace id.';

COMMENT ON COLUMN obs.audit.span_id IS 'W3C span id.';

COMMENT ON COLUMN obs.audit.inserted_at IS 'When this database took the row.';

-- Whoever writes errors writes entries: a role from before this table would otherwise have to be given the right
-- before its program may be upgraded.
DO $$
DECLARE
    writer text;
BEGIN
    FOR writer IN
        SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
        FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'obs.run_error'::regclass AND privilege_type = 'INSERT' AND grantee <> relowner
    LOOP
        EXECUTE format('GRANT INSERT, SELECT (audit_id) ON obs.audit TO %s', writer);
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION obs.make_day(day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '4s'
AS $$
DECLARE
    -- A role that may make days may not fill the catalog with them.
    partitions_max CONSTANT integer := 10000;
    parent text;
    child text;
    made integer := 0;
BEGIN
    IF day IS NULL OR day NOT BETWEEN '1970-01-01' AND '10889-08-02' THEN
        RAISE EXCEPTION 'obs.make_day: no run can begin on %', day;
    END IF;
    PERFORM pg_advisory_xact_lock(8026104124924064371);
    FOREACH parent IN ARRAY ARRAY['run_ok', 'run_ok_payload', 'run_error', 'run_error_payload', 'audit'] LOOP
        child := parent || '_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent = ('obs.' || parent)::regclass AND relname = child
        );
        IF (SELECT count(*) FROM pg_inherits WHERE inhparent = ('obs.' || parent)::regclass) >= partitions_max THEN
            RAISE EXCEPTION 'obs.make_day: obs.% has % partitions already: drop old ones first', parent, partitions_max;
        END IF;
        -- Attaching a table that is ready lets readers and writers of its parent pass;
        -- CREATE TABLE ... PARTITION OF would wait for every reader, and make everybody else wait for it.
        EXECUTE format(
            'CREATE TABLE obs.%I (LIKE obs.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION INCLUDING STORAGE)',
            child, parent
        );
        EXECUTE format('ALTER TABLE obs.%I ATTACH PARTITION obs.%I %s', parent, child, obs.day_bounds(day));
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

CREATE OR REPLACE FUNCTION obs.drop_day(class text, day date, cutoff timestamptz) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Whoever comes later to a table waits behind us, so we do not wait for long.
SET lock_timeout = '250ms'
AS $$
DECLARE
    parent text;
    child regclass;
    children regclass[] := '{}';
    is_young boolean;
    -- Entries of the audit trail are kept as long as errors are.
    parents text[] := ARRAY['run_' || class, 'run_' || class || '_payload'] || CASE class WHEN 'error' THEN ARRAY['audit'] ELSE '{}' END;
BEGIN
    IF NOT coalesce(class IN ('ok', 'error'), false) THEN
        RAISE EXCEPTION 'obs.drop_day: the class is %, not ok or error', class;
    END IF;
    IF NOT pg_try_advisory_xact_lock(8026104124924064371) THEN
        RETURN 'busy';
    END IF;
    FOREACH parent IN ARRAY parents LOOP
        SELECT inhrelid INTO child
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = ('obs.' || parent)::regclass AND NOT inhdetachpending AND relkind = 'r'
        AND relnamespace = 'obs'::regnamespace AND relname = parent || '_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN NOT FOUND;
        -- First closed to writers and looked at; only the drop itself locks the parent, for a moment, and then
        -- the day. A stronger lock on the day now would meet every reader that comes from the parent in a deadlock.
        EXECUTE format('LOCK TABLE %s IN SHARE MODE', child);
        IF (SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = child) IS DISTINCT FROM obs.day_bounds(day) THEN
            RETURN 'kept';
        END IF;
        IF parent NOT LIKE '%\_payload' THEN
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %s WHERE %I > $1)', child, CASE parent WHEN 'audit' THEN 'occurred_at' ELSE 'started_at' END
            ) INTO is_young USING cutoff;
            IF is_young THEN
                RETURN 'kept';
            END IF;
        END IF;
        children := children || child;
    END LOOP;
    IF cardinality(children) = 0 THEN
        RETURN 'gone';
    END IF;
    EXECUTE 'DROP TABLE ' || array_to_string(children, ', ');
    RETURN 'dropped';
END
$$;

ALTER TABLE obs.erasure ADD COLUMN audit bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN obs.erasure.audit IS 'Entries of the audit trail whose actor it was.';

CREATE FUNCTION obs.erase_audit_from(partition regclass, subjects text [], most integer) RETURNS bigint
LANGUAGE plpgsql STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone bigint;
BEGIN
    EXECUTE format(
        'DELETE FROM %1$s WHERE audit_id = ANY (ARRAY(SELECT audit_id FROM %1$s WHERE actor = ANY ($1) LIMIT $2))', partition
    ) USING subjects, most;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
EXCEPTION
    -- Retention was here before us.
    WHEN undefined_table THEN
        RETURN 0;
END
$$;

COMMENT ON FUNCTION obs.erase_audit_from(regclass, text [], integer) IS
'Deletes a bounded number of entries of an actor from a partition. There may be more.';
