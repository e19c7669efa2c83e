-- A command that the device believes only when it is signed: the signed bytes, handed over unchanged, and the
-- counter in them, 0 for commands without.
ALTER TABLE command ADD COLUMN signed_bytes BLOB;
ALTER TABLE command ADD COLUMN counter BIGINT NOT NULL DEFAULT 0;
