#ifndef PAG_SIM_FLASH_H
#define PAG_SIM_FLASH_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "agent/port.h"
#include "sim/pool.h"

/*
 * NOR flash of one virtual device: erase sets sectors to 0xFF, program only clears bits. Its power can fail
 * in the middle of an operation, which is then half done; everything fails until the power is back.
 */
struct pag_sim_flash {
    struct pag_sim_pool *pool;
    uint32_t area_sectors[PAG_AREA_COUNT];
    struct pag_sim_sector **map[PAG_AREA_COUNT]; /* NULL entry: erased */
    uint8_t *open;                               /* bytes of the sector being programmed, not yet shared */
    enum pag_area open_area;
    uint32_t open_index; /* valid while is_open */
    bool is_open;
    bool dead;             /* the power is gone */
    uint32_t cut_in;       /* power fails in the n-th operation from now; 0: it does not */
    uint32_t cut_keep;     /* share of that operation that is still done, in 1/256 */
    uint64_t operations;   /* erases and programs since it was made */
    uint64_t bad_programs; /* programs that wanted to set a cleared bit: a bug of the caller */
};

/* area_bytes: multiples of PAG_SIM_SECTOR. All erased. PAG_E_NO_MEMORY (free it then too). */
enum pag_err pag_sim_flash_init(struct pag_sim_flash *f, struct pag_sim_pool *pool,
                                const uint32_t area_bytes[PAG_AREA_COUNT]);
void pag_sim_flash_free(struct pag_sim_flash *f);

/* As struct pag_flash says. PAG_E_RANGE, PAG_E_IO (no power), PAG_E_NO_MEMORY. */
enum pag_err pag_sim_flash_erase(struct pag_sim_flash *f, enum pag_area area, uint32_t off, uint32_t n);
enum pag_err pag_sim_flash_program(struct pag_sim_flash *f, enum pag_area area, uint32_t off,
                                   struct pag_span data);
enum pag_err pag_sim_flash_read(struct pag_sim_flash *f, enum pag_area area, uint32_t off, uint8_t *out,
                                uint32_t n);

/* Erases what is needed and writes data at the start of the area, as a programmer on the cable does. */
enum pag_err pag_sim_flash_burn(struct pag_sim_flash *f, enum pag_area area, struct pag_span data);

/* The same content as that area of another device of the pool, which is of the same size; f's own is erased
 * before. */
enum pag_err pag_sim_flash_share(struct pag_sim_flash *f, struct pag_sim_flash *from, enum pag_area area);

/* Calls visit for each sector that is not erased, area by area. PAG_E_NO_MEMORY. */
enum pag_err pag_sim_flash_each(struct pag_sim_flash *f, void (*visit)(void *ctx, struct pag_sim_sector *s),
                                void *ctx);

/* What the firmware in a slot is. */
struct pag_sim_sketch {
    uint32_t bytes;                    /* walked from its own headers; 0: no image there */
    char version[PAG_VERSION_MAX + 1]; /* of its identity block, "" without */
    uint8_t sha256[PAG_SHA256_BYTES];
    uint8_t md5[16];
    uint8_t app_sha256[PAG_SHA256_BYTES]; /* ESP32: the one appended to the image; else as sha256 */
    bool esp32;
};
/* Reads the ESP8266 image in area the way the Arduino core finds its own size, or an ESP32 one
 * (docs/spec/image.md). PAG_E_NOT_FOUND: none. PAG_E_NO_MEMORY. */
enum pag_err pag_sim_flash_sketch(struct pag_sim_flash *f, enum pag_area area, struct pag_sim_sketch *out);
/* The same for bytes at hand. */
enum pag_err pag_sim_sketch_of(struct pag_span image, struct pag_sim_sketch *out);

#endif
