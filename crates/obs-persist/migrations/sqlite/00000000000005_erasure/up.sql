-- Tombstones: runs of these subjects that began before started_before are not stored, wherever they
-- come from. They are forgotten at forget_at. Times are microseconds since the Unix epoch.
CREATE TABLE erased (
    subject_hash   BLOB    NOT NULL PRIMARY KEY, -- SHA-256 of the salt and the subject as it was stored
    started_before INTEGER NOT NULL,
    forget_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE erasure_salt (
    only_one INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (only_one = 1),
    salt     BLOB    NOT NULL
) STRICT;

INSERT INTO erasure_salt (salt) VALUES (randomblob(32));

-- What was erased, when, on whose word; whom it was about is not said.
CREATE TABLE erasure (
    erased_at      INTEGER NOT NULL,
    erased_by      TEXT    NOT NULL, -- who asked for it, in their own words
    subject_hashes TEXT    NOT NULL, -- hexadecimal, with spaces between them
    rows_ok        INTEGER NOT NULL,
    rows_error     INTEGER NOT NULL,
    payloads       INTEGER NOT NULL,
    files          INTEGER NOT NULL  -- records in files: the spool and the quarantine
) STRICT;
