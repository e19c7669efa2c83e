-- Devices that relays push to: where they are in their own network, and what they said last.
CREATE TABLE neighbour (
    device_id TEXT NOT NULL PRIMARY KEY REFERENCES device (id),
    product_id TEXT NOT NULL REFERENCES product (id),
    address TEXT NOT NULL, -- "192.168.1.40:3232", as its relay sees it
    said TEXT NOT NULL,    -- version text, "" : it says none
    name TEXT NOT NULL,
    relay TEXT NOT NULL,   -- actor that saw it
    seen_ms BIGINT NOT NULL
);
CREATE INDEX neighbour_by_product ON neighbour (product_id, device_id);
