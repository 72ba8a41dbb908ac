DROP TABLE erasure;

DROP TABLE erasure_salt;

DROP TABLE erased;
