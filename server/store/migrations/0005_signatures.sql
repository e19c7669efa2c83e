-- Signatures kept beside an image, as "openssl dgst -sha256 -sign" writes them.
CREATE TABLE image_detached (
    image_id TEXT NOT NULL REFERENCES image (id),
    key_id BLOB NOT NULL,
    signature BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (image_id, key_id)
);

-- Public keys found inside images: DER SubjectPublicKeyInfo.
CREATE TABLE image_key (
    image_id TEXT NOT NULL REFERENCES image (id),
    product_id TEXT NOT NULL,
    key_id BLOB NOT NULL,
    spki BLOB NOT NULL,
    PRIMARY KEY (image_id, key_id)
);
CREATE INDEX image_key_by_product ON image_key (product_id, key_id);

-- Keys of one product alone. '': of every product.
ALTER TABLE public_key ADD COLUMN product_id TEXT NOT NULL DEFAULT '';
