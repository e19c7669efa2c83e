-- Paths on the device listeners that belong to a product.
CREATE TABLE mount (
    path TEXT NOT NULL PRIMARY KEY,
    product_id TEXT NOT NULL REFERENCES product (id),
    kind BIGINT NOT NULL,
    auth BIGINT NOT NULL,
    flags BIGINT NOT NULL,
    config TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX mount_by_product ON mount (product_id, path);
-- Version of the Arduino core that an image, or what a product's devices run, was built with: major * 10000 + minor * 100 + patch. 0: not known.
ALTER TABLE product ADD COLUMN core BIGINT NOT NULL DEFAULT 0;
ALTER TABLE image ADD COLUMN core BIGINT NOT NULL DEFAULT 0;
-- The name that devices ask for; where it belongs in flash (-1: nowhere in particular).
ALTER TABLE image ADD COLUMN file TEXT NOT NULL DEFAULT '';
ALTER TABLE image ADD COLUMN flash_offset BIGINT NOT NULL DEFAULT -1;
-- Without signature and unpacked: what the sketch MD5 of a device that runs it is made of.
ALTER TABLE image ADD COLUMN unpacked_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE image ADD COLUMN payload_md5 BLOB;
-- Flash mode byte of the form that this MD5 is of; 255: not known.
ALTER TABLE image_identity_md5 ADD COLUMN flash_mode BIGINT NOT NULL DEFAULT 255;
