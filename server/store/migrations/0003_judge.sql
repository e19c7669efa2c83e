-- Products whose devices are to be judged anew, and how far that has come.
CREATE TABLE rejudge (
    product_id TEXT NOT NULL PRIMARY KEY REFERENCES product (id),
    after_id TEXT NOT NULL
);
-- A file system does not say what it is: when it was sent whole and the device asked again. 0: never.
ALTER TABLE device_image ADD COLUMN held_ms BIGINT NOT NULL DEFAULT 0;
-- Devices that nothing but their own word stands for are counted (PAG_PROOF_SAID).
CREATE INDEX device_unproven ON device (product_id) WHERE proof = 1;
