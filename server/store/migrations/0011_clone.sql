-- Devices that seem to have a copy are counted and shown.
CREATE INDEX event_clone ON event (device_id, at_ms) WHERE type = 'device.clone_suspected';
