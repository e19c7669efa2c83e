#ifndef PAG_SIM_SAVED_H
#define PAG_SIM_SAVED_H

#include "sim/fleet.h"

/*
 * What of a fleet outlives a run, as a file (--devices-file): of each device its flash, its fault and what a
 * factory gave it. CBOR (core/cbor.h), then the CRC-32 of it, 4 bytes little-endian:
 *   ["pagurus-sim devices 2", slot bytes, product id, [sector …], [device …], legacy devices]
 *   device = [personality, path, fault word, mac, id, pin, certificate, key, MQTT host, MQTT port, map of
 * each area …] In files of "devices 1" personality and path are missing: native, or esp8266-3.0 for the
 * legacy ones. A map is 4 bytes little-endian a sector: 0 is erased, n the n-th sector of the file. The keys
 * in it are the devices' own: mode 0600.
 */

enum { PAG_SIM_SAVED_PATH_MAX = 127 };

struct pag_sim_saved_device {
    const struct pag_sim_personality *who;
    char path[PAG_SIM_SAVED_PATH_MAX + 1]; /* its own place; "": none */
    enum pag_sim_fault fault;
    struct pag_span mac, id;
    struct pag_span pin;              /* its own instead of the fleet's; empty: none */
    struct pag_span certificate, key; /* DER, when they are not in its flash; empty: none */
    struct pag_span mqtt_host;
    uint16_t mqtt_port;
    struct pag_span map[PAG_AREA_COUNT];
};

struct pag_sim_saved {
    struct pag_buf bytes; /* of the file; everything points into it */
    uint32_t slot_bytes;
    uint8_t product_id[PAG_PRODUCT_ID_BYTES];
    bool is_first;                         /* of the form without personalities */
    uint32_t sector_n, device_n, legacy_n; /* legacy_n of the device_n, the last ones */
    const uint8_t **sector;
    struct pag_sim_saved_device *device;
};

/* in: without the CRC; stays the caller's, out points into it. PAG_E_SYNTAX and other errors of core/cbor.h,
 * PAG_E_RANGE (a number that means nothing), PAG_E_NO_MEMORY; nothing to release then. */
enum pag_err pag_sim_saved_parse(struct pag_span in, struct pag_sim_saved *out);

/* PAG_E_NOT_FOUND: no such file. PAG_E_CHECKSUM: damaged. Also what parse and pag_fs_read say. */
enum pag_err pag_sim_saved_read(const char *path, struct pag_sim_saved *out, struct pag_fail *why);
void pag_sim_saved_free(struct pag_sim_saved *saved); /* zeroed is fine; parsed and read ones alike */

/* Writes the devices of stopped worlds, once. PAG_E_IO, PAG_E_SPACE, PAG_E_NO_MEMORY. */
enum pag_err pag_sim_saved_write(const char *path, const struct pag_sim_options *o,
                                 struct pag_sim_world *world, struct pag_fail *why);

/* Fills the flash of d, which is all erased. cache: saved->sector_n pointers, zeroed before the first device
 * of a pool; release its sectors with pag_sim_saved_forget after the last. PAG_E_NO_MEMORY. */
enum pag_err pag_sim_saved_flash(const struct pag_sim_saved *saved, const struct pag_sim_saved_device *from,
                                 struct pag_sim_sector **cache, struct pag_sim_flash *f);
void pag_sim_saved_forget(const struct pag_sim_saved *saved, struct pag_sim_sector **cache,
                          struct pag_sim_pool *pool);

#endif
