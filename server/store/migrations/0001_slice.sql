-- Common subset of SQLite and PostgreSQL: application-made ids, integer milliseconds, no now(), no autoincrement.
CREATE TABLE product (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    chip BIGINT NOT NULL,
    hardware TEXT NOT NULL,
    flash_bytes BIGINT NOT NULL,
    slot_bytes BIGINT NOT NULL,
    poll_s BIGINT NOT NULL,
    legacy_auth BIGINT NOT NULL,
    plain_http BIGINT NOT NULL,
    max_serves BIGINT NOT NULL,
    topic_command TEXT NOT NULL,
    topic_status TEXT NOT NULL,
    topic_will TEXT NOT NULL,
    trust_version BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    revision BIGINT NOT NULL
);

CREATE TABLE trust_set (
    product_id TEXT NOT NULL REFERENCES product (id),
    version BIGINT NOT NULL,
    digest BLOB NOT NULL,
    cose BLOB NOT NULL,
    expires_s BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (product_id, version)
);

CREATE TABLE blob (
    sha256 BLOB NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE release (
    id TEXT NOT NULL PRIMARY KEY,
    product_id TEXT NOT NULL REFERENCES product (id),
    version TEXT NOT NULL,
    channel TEXT NOT NULL,
    state BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    notes TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    published_ms BIGINT NOT NULL,
    withdrawn_ms BIGINT NOT NULL,
    UNIQUE (product_id, version),
    UNIQUE (product_id, sequence)
);

CREATE TABLE image (
    id TEXT NOT NULL PRIMARY KEY,
    release_id TEXT NOT NULL REFERENCES release (id),
    product_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind BIGINT NOT NULL,
    chip BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 BLOB NOT NULL REFERENCES blob (sha256),
    md5 BLOB NOT NULL,
    payload_bytes BIGINT NOT NULL,
    project TEXT NOT NULL,
    version TEXT NOT NULL,
    hardware TEXT NOT NULL,
    identity_epoch BIGINT NOT NULL,
    flash_size_bytes BIGINT NOT NULL,
    flash_mode BIGINT NOT NULL,
    gzip BIGINT NOT NULL,
    trailer BIGINT NOT NULL,
    signed_by BLOB NOT NULL,
    embedded_key BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE (release_id, name)
);
CREATE INDEX image_by_sha256 ON image (sha256);

CREATE TABLE image_signature (
    image_id TEXT NOT NULL REFERENCES image (id),
    key_id BLOB NOT NULL,
    PRIMARY KEY (image_id, key_id)
);

CREATE TABLE image_identity_md5 (
    product_id TEXT NOT NULL,
    md5 BLOB NOT NULL,
    image_id TEXT NOT NULL REFERENCES image (id),
    PRIMARY KEY (product_id, md5, image_id)
);

CREATE TABLE manifest (
    release_id TEXT NOT NULL REFERENCES release (id),
    image_name TEXT NOT NULL,
    digest BLOB NOT NULL,
    cose BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (release_id, image_name)
);

CREATE TABLE permit (
    product_id TEXT NOT NULL REFERENCES product (id),
    from_sequence BIGINT NOT NULL,
    to_sequence BIGINT NOT NULL,
    expires_s BIGINT NOT NULL,
    cose BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (product_id, from_sequence, to_sequence)
);

CREATE TABLE device (
    id TEXT NOT NULL PRIMARY KEY,
    product_id TEXT NOT NULL REFERENCES product (id),
    name TEXT NOT NULL,
    mac TEXT NOT NULL,
    protocol BIGINT NOT NULL,
    proof BIGINT NOT NULL,
    sources BLOB NOT NULL,
    chip BIGINT NOT NULL,
    hardware TEXT NOT NULL,
    running BLOB NOT NULL,
    running_md5 BLOB NOT NULL,
    version TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    slot BIGINT NOT NULL,
    boot_state BIGINT NOT NULL,
    trust_version BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    slot_bytes BIGINT NOT NULL,
    flash_bytes BIGINT NOT NULL,
    sketch_bytes BIGINT NOT NULL,
    boot_count BIGINT NOT NULL,
    capabilities BIGINT NOT NULL,
    last_failed BLOB NOT NULL,
    running_since_ms BIGINT NOT NULL,
    state BIGINT NOT NULL,
    why TEXT NOT NULL,
    online BIGINT NOT NULL,
    online_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    enrolled_ms BIGINT NOT NULL,
    last_seen_ms BIGINT NOT NULL,
    last_poll_ms BIGINT NOT NULL,
    pin TEXT NOT NULL,
    tags TEXT NOT NULL,
    cert_serial BLOB NOT NULL,
    cert_not_after_ms BIGINT NOT NULL,
    revoked_ms BIGINT NOT NULL,
    open_action BIGINT NOT NULL,
    commands_queued BIGINT NOT NULL,
    images_held BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    verify_key BLOB NOT NULL
);
CREATE INDEX device_by_product ON device (product_id, id);
CREATE INDEX device_by_state ON device (product_id, state, id);
CREATE INDEX device_by_version ON device (product_id, version, id);
CREATE INDEX device_by_mac ON device (mac);
CREATE INDEX device_by_name ON device (name);

CREATE TABLE certificate (
    serial BLOB NOT NULL PRIMARY KEY,
    device_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    key_sha256 BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    der BLOB NOT NULL,
    not_before_ms BIGINT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    issued_ms BIGINT NOT NULL,
    revoked_ms BIGINT NOT NULL
);
CREATE INDEX certificate_by_device ON certificate (device_id, issued_ms);
CREATE INDEX certificate_by_key ON certificate (key_sha256);
CREATE INDEX certificate_by_revoked ON certificate (revoked_ms);

CREATE TABLE action (
    id BIGINT NOT NULL PRIMARY KEY,
    device_id TEXT NOT NULL REFERENCES device (id),
    product_id TEXT NOT NULL,
    release_id TEXT NOT NULL,
    image_id TEXT NOT NULL,
    version TEXT NOT NULL,
    manifest_digest BLOB NOT NULL,
    target BLOB NOT NULL,
    origin BLOB NOT NULL,
    state BIGINT NOT NULL,
    is_open BIGINT NOT NULL,
    progress BIGINT NOT NULL,
    code BIGINT NOT NULL,
    text TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    report_seq BIGINT NOT NULL
);
-- At most one open action a device.
CREATE UNIQUE INDEX action_open ON action (device_id) WHERE is_open = 1;
CREATE INDEX action_by_device ON action (device_id, created_ms);
CREATE INDEX action_by_release ON action (release_id, state);

CREATE TABLE device_image (
    device_id TEXT NOT NULL REFERENCES device (id),
    sha256 BLOB NOT NULL,
    version TEXT NOT NULL,
    serves BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    blocked BIGINT NOT NULL,
    reason TEXT NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (device_id, sha256)
);

CREATE TABLE command (
    id BIGINT NOT NULL PRIMARY KEY,
    device_id TEXT NOT NULL REFERENCES device (id),
    product_id TEXT NOT NULL,
    kind BIGINT NOT NULL,
    arg BLOB NOT NULL,
    state BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    sent_ms BIGINT NOT NULL,
    done_ms BIGINT NOT NULL,
    code BIGINT NOT NULL,
    result TEXT NOT NULL,
    actor TEXT NOT NULL
);
CREATE INDEX command_by_device ON command (device_id, created_ms);

CREATE TABLE device_status (
    device_id TEXT NOT NULL PRIMARY KEY REFERENCES device (id),
    json BLOB NOT NULL,
    at_ms BIGINT NOT NULL
);

CREATE TABLE device_data (
    device_id TEXT NOT NULL REFERENCES device (id),
    topic TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (device_id, topic)
);

CREATE TABLE enrollment_code (
    id TEXT NOT NULL PRIMARY KEY,
    product_id TEXT NOT NULL REFERENCES product (id),
    sha256 BLOB NOT NULL UNIQUE,
    uses BIGINT NOT NULL,
    uses_left BIGINT NOT NULL,
    mac TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    actor TEXT NOT NULL
);

-- What a claim was redeemed for: the same key gets the same answer again.
CREATE TABLE enrollment (
    code_sha256 BLOB NOT NULL,
    key_sha256 BLOB NOT NULL,
    device_id TEXT NOT NULL,
    serial BLOB NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (code_sha256, key_sha256)
);

CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role BIGINT NOT NULL,
    product_id TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    last_used_ms BIGINT NOT NULL,
    revoked_ms BIGINT NOT NULL
);

CREATE TABLE public_key (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    pem TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE idempotency (
    token_id TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    body_sha256 BLOB NOT NULL,
    status BIGINT NOT NULL,
    body BLOB NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (token_id, route, key)
);

CREATE TABLE event (
    seq BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    type TEXT NOT NULL,
    product_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX event_by_device ON event (device_id, seq);

-- hash = SHA-256(previous hash, then the fields as docs/operating/storage.md writes them down).
CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    data TEXT NOT NULL,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL
);
