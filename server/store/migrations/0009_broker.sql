-- Clients of the broker with a password: each speaks for one device.
CREATE TABLE broker_user (
    name TEXT NOT NULL PRIMARY KEY, -- "lamp.kitchen"
    product_id TEXT NOT NULL REFERENCES product (id),
    device_id TEXT NOT NULL,        -- not a reference: it may come later
    topic TEXT NOT NULL,            -- Tasmota's %topic%, '' : none
    hash TEXT NOT NULL,             -- as in mosquitto's password file
    created_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX broker_user_device ON broker_user (device_id);
CREATE UNIQUE INDEX broker_user_topic ON broker_user (topic) WHERE topic <> '';
