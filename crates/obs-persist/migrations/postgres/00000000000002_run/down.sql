DROP TABLE obs.run_error;

DROP TABLE obs.run_ok;
