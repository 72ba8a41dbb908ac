-- 1 where the same error had come so often in that minute that its row was left without input and trace.
ALTER TABLE run ADD COLUMN slim INTEGER NOT NULL DEFAULT 0;
