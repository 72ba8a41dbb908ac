ALTER TABLE erasure DROP COLUMN audit;

DROP TABLE audit;
