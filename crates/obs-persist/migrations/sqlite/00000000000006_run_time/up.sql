-- For retention, which drops each class by its own age.
CREATE INDEX run_ok_started_at ON run (started_at) WHERE status IN ('ok', 'cancelled');

CREATE INDEX run_error_started_at ON run (started_at) WHERE status NOT IN ('ok', 'cancelled');
