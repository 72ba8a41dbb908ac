DROP FUNCTION obs.erase_audit_from(regclass, text [], integer);

ALTER TABLE obs.erasure DROP COLUMN audit;

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
BEGIN
    IF NOT coalesce(class IN ('ok', 'error'), false) THEN
        RAISE EXCEPTION 'obs.drop_day: the class is %, not ok or error', class;
    END IF;
    IF NOT pg_try_advisory_xact_lock(8026104124924064371) THEN
        RETURN 'busy';
    END IF;
    FOREACH parent IN ARRAY ARRAY['run_' || class, 'run_' || class || '_payload'] LOOP
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
            EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE started_at > $1)', child) INTO is_young USING cutoff;
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
    FOREACH parent IN ARRAY ARRAY['run_ok', 'run_ok_payload', 'run_error', 'run_error_payload'] LOOP
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

DROP TABLE obs.audit;
