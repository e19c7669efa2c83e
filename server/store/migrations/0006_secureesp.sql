-- How devices that do not speak ours are spoken to: of a product (device_id '') and, over it, of one device.
CREATE TABLE dialect (
    product_id TEXT NOT NULL REFERENCES product (id),
    device_id TEXT NOT NULL,
    name TEXT NOT NULL,
    config BLOB NOT NULL, -- sealed JSON, read by the protocol's head alone
    key_kind BIGINT NOT NULL,
    series_days BIGINT NOT NULL,
    series_rows BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (product_id, device_id)
);
-- Private keys that the server has made, sealed, until their device has fetched them: once.
CREATE TABLE sealed_key (
    device_id TEXT NOT NULL PRIMARY KEY REFERENCES device (id),
    serial BLOB NOT NULL, -- of the certificate for it
    claim BLOB NOT NULL,  -- SHA-256 of the claim it was made for; empty: by an operator
    sealed BLOB NOT NULL, -- empty: fetched
    made_ms BIGINT NOT NULL
);
-- One row a status message. Words change seldom: rows share them.
CREATE TABLE series (
    device_id TEXT NOT NULL REFERENCES device (id),
    at_ms BIGINT NOT NULL,
    words BIGINT NOT NULL,
    given BIGINT NOT NULL, -- bit a number: it was in the message
    uptime_ms BIGINT NOT NULL,
    max_ms BIGINT NOT NULL,
    mqtt_ms BIGINT NOT NULL,
    rssi BIGINT NOT NULL,
    heap BIGINT NOT NULL,
    PRIMARY KEY (device_id, at_ms)
);
CREATE INDEX series_at ON series (at_ms);
CREATE TABLE series_words (
    device_id TEXT NOT NULL REFERENCES device (id),
    words BIGINT NOT NULL,
    name TEXT NOT NULL,
    image TEXT NOT NULL,
    build TEXT NOT NULL,
    ip TEXT NOT NULL,
    message TEXT NOT NULL,
    flash_message TEXT NOT NULL,
    PRIMARY KEY (device_id, words)
);
