-- What time ends is found without walking the tables.
CREATE INDEX action_silent ON action (changed_ms) WHERE is_open = 1;
CREATE INDEX command_open ON command (expires_ms) WHERE state < 2;
CREATE INDEX enrollment_code_by_end ON enrollment_code (expires_ms);
CREATE INDEX enrollment_by_time ON enrollment (at_ms);
CREATE INDEX idempotency_by_time ON idempotency (at_ms);
-- How often a command was handed over.
ALTER TABLE command ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
