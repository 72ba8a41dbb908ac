DROP FUNCTION obs.erase_from(text, regclass, text [], integer);

DROP FUNCTION obs.bury(text [], timestamptz, timestamptz);

DROP FUNCTION obs.erased_runs(uuid [], text [], timestamptz []);

DROP FUNCTION obs.subject_hash(text);

DROP TABLE obs.erasure;

DROP TABLE obs.erasure_salt;

DROP TABLE obs.erased;
