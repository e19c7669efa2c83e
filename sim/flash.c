#include "sim/flash.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

enum pag_err pag_sim_flash_init(struct pag_sim_flash *f, struct pag_sim_pool *pool,
                                const uint32_t area_bytes[PAG_AREA_COUNT])
{
    *f = (struct pag_sim_flash){ .pool = pool, .open = malloc(PAG_SIM_SECTOR) };
    if (f->open == NULL) {
        return PAG_E_NO_MEMORY;
    }
    for (int area = 0; area < PAG_AREA_COUNT; area++) {
        f->area_sectors[area] = area_bytes[area] / PAG_SIM_SECTOR;
        f->map[area] = calloc(f->area_sectors[area], sizeof(struct pag_sim_sector *));
        if (f->map[area] == NULL) {
            return PAG_E_NO_MEMORY;
        }
    }
    return PAG_OK;
}

void pag_sim_flash_free(struct pag_sim_flash *f)
{
    for (int area = 0; area < PAG_AREA_COUNT; area++) {
        for (uint32_t i = 0; f->map[area] != NULL && i < f->area_sectors[area]; i++) {
            pag_sim_pool_release(f->pool, f->map[area][i]);
        }
        free(f->map[area]);
    }
    free(f->open);
    *f = (struct pag_sim_flash){ 0 };
}

/* Shares what was programmed last. */
static enum pag_err close_open(struct pag_sim_flash *f)
{
    if (!f->is_open) {
        return PAG_OK;
    }
    struct pag_sim_sector *shared = pag_sim_pool_put(f->pool, f->open);
    if (shared == NULL) {
        return PAG_E_NO_MEMORY;
    }
    f->map[f->open_area][f->open_index] = shared;
    f->is_open = false;
    return PAG_OK;
}

static enum pag_err open_sector(struct pag_sim_flash *f, enum pag_area area, uint32_t index)
{
    if (f->is_open && f->open_area == area && f->open_index == index) {
        return PAG_OK;
    }
    const enum pag_err err = close_open(f);
    if (err != PAG_OK) {
        return err;
    }
    struct pag_sim_sector *old = f->map[area][index];
    if (old != NULL) {
        memcpy(f->open, old->bytes, PAG_SIM_SECTOR);
        pag_sim_pool_release(f->pool, old);
        f->map[area][index] = NULL;
    } else {
        memset(f->open, 0xFF, PAG_SIM_SECTOR);
    }
    f->is_open = true;
    f->open_area = area;
    f->open_index = index;
    return PAG_OK;
}

static enum pag_err check_range(const struct pag_sim_flash *f, enum pag_area area, uint32_t off, size_t n)
{
    if (f->dead) {
        return PAG_E_IO;
    }
    const size_t bytes = (size_t)f->area_sectors[area] * PAG_SIM_SECTOR;
    return off <= bytes && n <= bytes - off ? PAG_OK : PAG_E_RANGE;
}

/* Counts an operation; true when the power fails in it. */
static bool power_fails(struct pag_sim_flash *f)
{
    f->operations++;
    if (f->cut_in == 0 || --f->cut_in > 0) {
        return false;
    }
    f->dead = true;
    return true;
}

static enum pag_err erase_part(struct pag_sim_flash *f, enum pag_area area, uint32_t index, uint32_t keep)
{
    const enum pag_err err = open_sector(f, area, index);
    if (err == PAG_OK) {
        memset(f->open, 0xFF, (size_t)keep * PAG_SIM_SECTOR / 256);
    }
    return err;
}

enum pag_err pag_sim_flash_erase(struct pag_sim_flash *f, enum pag_area area, uint32_t off, uint32_t n)
{
    const enum pag_err err = check_range(f, area, off, n);
    if (err != PAG_OK || off % PAG_SIM_SECTOR != 0 || n % PAG_SIM_SECTOR != 0) {
        return err != PAG_OK ? err : PAG_E_RANGE;
    }
    for (uint32_t index = off / PAG_SIM_SECTOR; index < (off + n) / PAG_SIM_SECTOR; index++) {
        if (power_fails(f)) {
            (void)erase_part(f, area, index, f->cut_keep);
            return PAG_E_IO;
        }
        if (f->is_open && f->open_area == area && f->open_index == index) {
            f->is_open = false;
        }
        pag_sim_pool_release(f->pool, f->map[area][index]);
        f->map[area][index] = NULL;
    }
    return PAG_OK;
}

/* Clears bits inside one sector. */
static enum pag_err program_piece(struct pag_sim_flash *f, enum pag_area area, uint32_t off,
                                  struct pag_span data)
{
    const enum pag_err err = open_sector(f, area, off / PAG_SIM_SECTOR);
    uint8_t *at = f->open + off % PAG_SIM_SECTOR;
    bool bad = false;
    for (size_t i = 0; err == PAG_OK && i < data.n; i++) {
        bad = bad || (data.p[i] & ~at[i]) != 0;
        at[i] = (uint8_t)(at[i] & data.p[i]);
    }
    f->bad_programs += bad ? 1 : 0;
    return err;
}

enum pag_err pag_sim_flash_program(struct pag_sim_flash *f, enum pag_area area, uint32_t off,
                                   struct pag_span data)
{
    enum pag_err err = check_range(f, area, off, data.n);
    if (err != PAG_OK || off % 4 != 0 || data.n % 4 != 0) {
        return err != PAG_OK ? err : PAG_E_RANGE;
    }
    const bool cut = power_fails(f);
    if (cut) {
        data.n = data.n * f->cut_keep / 256;
    }
    while (data.n > 0 && err == PAG_OK) {
        const size_t room = PAG_SIM_SECTOR - off % PAG_SIM_SECTOR;
        const size_t n = data.n < room ? data.n : room;
        err = program_piece(f, area, off, pag_span_of(data.p, n));
        off += (uint32_t)n;
        data = pag_span_of(data.p + n, data.n - n);
    }
    return cut ? PAG_E_IO : err;
}

static const uint8_t *sector_bytes(const struct pag_sim_flash *f, enum pag_area area, uint32_t index)
{
    if (f->is_open && f->open_area == area && f->open_index == index) {
        return f->open;
    }
    return f->map[area][index] != NULL ? f->map[area][index]->bytes : NULL;
}

enum pag_err pag_sim_flash_read(struct pag_sim_flash *f, enum pag_area area, uint32_t off, uint8_t *out,
                                uint32_t n)
{
    const enum pag_err err = check_range(f, area, off, n);
    while (err == PAG_OK && n > 0) {
        const uint32_t in = off % PAG_SIM_SECTOR;
        const uint32_t piece = n < PAG_SIM_SECTOR - in ? n : PAG_SIM_SECTOR - in;
        const uint8_t *from = sector_bytes(f, area, off / PAG_SIM_SECTOR);
        if (from != NULL) {
            memcpy(out, from + in, piece);
        } else {
            memset(out, 0xFF, piece);
        }
        off += piece;
        out += piece;
        n -= piece;
    }
    return err;
}

enum pag_err pag_sim_flash_burn(struct pag_sim_flash *f, enum pag_area area, struct pag_span data)
{
    uint8_t sector[PAG_SIM_SECTOR];
    for (uint32_t off = 0; off < data.n; off += PAG_SIM_SECTOR) {
        const size_t n = data.n - off < PAG_SIM_SECTOR ? data.n - off : PAG_SIM_SECTOR;
        memset(sector, 0xFF, sizeof(sector));
        memcpy(sector, data.p + off, n);
        enum pag_err err = pag_sim_flash_erase(f, area, off, PAG_SIM_SECTOR);
        if (err == PAG_OK) {
            err = pag_sim_flash_program(f, area, off, pag_span_of(sector, sizeof(sector)));
        }
        if (err != PAG_OK) {
            return err;
        }
    }
    return PAG_OK;
}

enum pag_err pag_sim_flash_share(struct pag_sim_flash *f, struct pag_sim_flash *from, enum pag_area area)
{
    enum pag_err err = close_open(from);
    if (err == PAG_OK) {
        err = pag_sim_flash_erase(f, area, 0, f->area_sectors[area] * PAG_SIM_SECTOR);
    }
    for (uint32_t i = 0; err == PAG_OK && i < f->area_sectors[area]; i++) {
        f->map[area][i] = from->map[area][i];
        if (f->map[area][i] != NULL) {
            f->map[area][i]->refs++;
        }
    }
    return err;
}

static void visit_area(struct pag_sim_flash *f, int area, void (*visit)(void *ctx, struct pag_sim_sector *s),
                       void *ctx)
{
    for (uint32_t i = 0; i < f->area_sectors[area]; i++) {
        if (f->map[area][i] != NULL) {
            visit(ctx, f->map[area][i]);
        }
    }
}

enum pag_err pag_sim_flash_each(struct pag_sim_flash *f, void (*visit)(void *ctx, struct pag_sim_sector *s),
                                void *ctx)
{
    const enum pag_err err = close_open(f);
    for (int area = 0; err == PAG_OK && area < PAG_AREA_COUNT; area++) {
        visit_area(f, area, visit, ctx);
    }
    return err;
}
