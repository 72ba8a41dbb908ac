DROP TABLE obs.run_error_payload;

DROP TABLE obs.run_ok_payload;
