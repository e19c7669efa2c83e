-- Lists by the state shown and counts read this alone: who is silent follows from last_seen_ms.
DROP INDEX device_by_state;
CREATE INDEX device_shown ON device (product_id, state, id, revoked_ms, last_seen_ms, online, protocol);
-- The pages of one product's events, and of certificates by age.
CREATE INDEX event_by_product ON event (product_id, seq);
CREATE INDEX certificate_by_time ON certificate (issued_ms, serial);
