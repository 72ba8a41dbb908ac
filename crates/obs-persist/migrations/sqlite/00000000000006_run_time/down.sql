DROP INDEX run_error_started_at;

DROP INDEX run_ok_started_at;
