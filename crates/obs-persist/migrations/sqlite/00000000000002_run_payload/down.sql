DROP TABLE run_payload;
