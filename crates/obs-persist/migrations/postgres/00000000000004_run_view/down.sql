DROP VIEW obs.run_payload;

DROP VIEW obs.run;
