-- What the device that uses a code is called and tagged.
ALTER TABLE enrollment_code ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE enrollment_code ADD COLUMN tags TEXT NOT NULL DEFAULT '';
-- Who has signed it: the first bytes of the SHA-256 of the authority's key. '' : from before this was kept.
ALTER TABLE certificate ADD COLUMN issuer BLOB NOT NULL DEFAULT '';
-- What ends soon is found without walking the table.
CREATE INDEX certificate_by_end ON certificate (not_after_ms) WHERE revoked_ms = 0;
-- Products whose devices may ask without a claim, and wait for an operator.
CREATE TABLE enrollment_profile (
    product_id TEXT NOT NULL PRIMARY KEY REFERENCES product (id),
    approval BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL
);
-- Who waits, by the key of its request.
CREATE TABLE enrollment_request (
    id TEXT NOT NULL PRIMARY KEY,
    key_sha256 BLOB NOT NULL UNIQUE,
    product_id TEXT NOT NULL REFERENCES product (id),
    device_id TEXT NOT NULL,
    address TEXT NOT NULL,
    state BIGINT NOT NULL,
    actor TEXT NOT NULL, -- who has decided
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL
);
CREATE INDEX enrollment_request_by_product ON enrollment_request (product_id, created_ms);
