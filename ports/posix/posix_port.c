#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): GNU functions */
#include "ports/posix/posix_port.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const area_names[PAG_AREA_COUNT] = { "journal", "trust", "config", "slot_a", "slot_b" };

enum { AREA_MIN = 2 * PAG_POSIX_SECTOR };

static struct pag_posix *self(void *ctx)
{
    return ctx;
}

/* ---- flash ---- */

static bool inside(const struct pag_posix *p, enum pag_area area, uint32_t off, size_t n)
{
    uint32_t room = p->port.flash.area_bytes[area];
    return off <= room && n <= room - off;
}

static enum pag_err write_all(int fd, const uint8_t *data, size_t n, off_t at)
{
    while (n > 0) {
        ssize_t put = pwrite(fd, data, n, at);
        if (put <= 0) {
            return PAG_E_IO;
        }
        data += put;
        n -= (size_t)put;
        at += put;
    }
    return PAG_OK;
}

static enum pag_err read_all(int fd, uint8_t *out, size_t n, off_t at)
{
    while (n > 0) {
        ssize_t got = pread(fd, out, n, at);
        if (got <= 0) {
            return PAG_E_IO;
        }
        out += got;
        n -= (size_t)got;
        at += got;
    }
    return PAG_OK;
}

/* What a record speaks of must be on disk before the record is. */
static enum pag_err sync_areas(struct pag_posix *p)
{
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        if (p->dirty[a] && fdatasync(p->area[a]) != 0) {
            return PAG_E_IO;
        }
        p->dirty[a] = false;
    }
    return PAG_OK;
}

static bool holds_records(enum pag_area area)
{
    return area == PAG_AREA_JOURNAL || area == PAG_AREA_TRUST || area == PAG_AREA_CONFIG;
}

static enum pag_err put(struct pag_posix *p, enum pag_area area, uint32_t off, const uint8_t *data, size_t n)
{
    enum pag_err err = holds_records(area) ? sync_areas(p) : PAG_OK;
    if (err == PAG_OK) {
        p->dirty[area] = true;
        err = write_all(p->area[area], data, n, off);
    }
    return err == PAG_OK && holds_records(area) ? sync_areas(p) : err;
}

static enum pag_err flash_erase(void *ctx, enum pag_area area, uint32_t off, uint32_t n)
{
    struct pag_posix *p = self(ctx);
    uint8_t blank[PAG_POSIX_SECTOR];
    if (!inside(p, area, off, n) || off % PAG_POSIX_SECTOR != 0 || n % PAG_POSIX_SECTOR != 0) {
        return PAG_E_RANGE;
    }
    memset(blank, 0xFF, sizeof blank);
    enum pag_err err = PAG_OK;
    for (uint32_t at = 0; at < n && err == PAG_OK; at += PAG_POSIX_SECTOR) {
        err = put(p, area, off + at, blank, sizeof blank);
    }
    return err;
}

static enum pag_err program_part(struct pag_posix *p, enum pag_area area, uint32_t off, struct pag_span data)
{
    uint8_t old[PAG_POSIX_SECTOR];
    enum pag_err err = read_all(p->area[area], old, data.n, off);
    for (size_t i = 0; i < data.n && err == PAG_OK; i++) {
        if ((data.p[i] & (uint8_t)~old[i]) != 0) {
            err = PAG_E_IO; /* programming cannot set a bit: a bug of ours */
        }
    }
    return err == PAG_OK ? put(p, area, off, data.p, data.n) : err;
}

static enum pag_err flash_program(void *ctx, enum pag_area area, uint32_t off, struct pag_span data)
{
    struct pag_posix *p = self(ctx);
    if (!inside(p, area, off, data.n) || off % 4 != 0 || data.n % 4 != 0) {
        return PAG_E_RANGE;
    }
    enum pag_err err = PAG_OK;
    for (size_t at = 0; at < data.n && err == PAG_OK; at += PAG_POSIX_SECTOR) {
        size_t n = data.n - at < PAG_POSIX_SECTOR ? data.n - at : PAG_POSIX_SECTOR;
        err = program_part(p, area, off + (uint32_t)at, (struct pag_span){ data.p + at, n });
    }
    return err;
}

static enum pag_err flash_read(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n)
{
    struct pag_posix *p = self(ctx);
    return inside(p, area, off, n) ? read_all(p->area[area], out, n, off) : PAG_E_RANGE;
}

/* ---- the rest of the board ---- */

static uint32_t now_ms(void *ctx)
{
    (void)ctx;
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint32_t)((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

static uint64_t now_unix_s(void *ctx)
{
    (void)ctx;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec;
}

static void fill_random(void *ctx, uint8_t *out, size_t n)
{
    (void)ctx;
    while (n > 0) {
        ssize_t got = getrandom(out, n, 0);
        if (got < 0 && errno != EINTR) {
            _exit(70); /* without random numbers nothing safe can be done */
        }
        if (got > 0) {
            out += got;
            n -= (size_t)got;
        }
    }
}

static uint8_t running_slot(void *ctx)
{
    return self(ctx)->slot;
}

static void do_reboot(void *ctx)
{
    struct pag_posix *p = self(ctx);
    pag_posix_net_close_all(p);
    (void)sync_areas(p);
    (void)fflush(NULL);
    if (p->loader[0] != 0) {
        (void)setenv("PAG_RESET_REASON", "software", 1);
        (void)execl(p->loader, p->loader, "--once", p->dir, (char *)NULL);
    }
    _exit(75);
}

static void feed_watchdog(void *ctx)
{
    if (self(ctx)->watchdog) {
        (void)alarm(PAG_POSIX_WATCHDOG_S);
    }
}

static void log_line(void *ctx, const char *event, const char *text, int64_t value)
{
    (void)ctx;
    (void)fprintf(stderr, "%s %s %" PRId64 "\n", event, text != NULL ? text : "-", value);
}

static uint32_t free_heap(void *ctx)
{
    (void)ctx;
    long pages = sysconf(_SC_AVPHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    return bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

static uint32_t restarts(void *ctx)
{
    return self(ctx)->restarts;
}

static const char *reset_reason(void *ctx)
{
    return self(ctx)->reset_reason;
}

/* Signal level of the first wireless interface, 0: there is none. */
static int32_t rssi_dbm(void *ctx)
{
    (void)ctx;
    char line[256];
    int32_t level = 0;
    FILE *f = fopen("/proc/net/wireless", "re");
    for (int n = 0; f != NULL && n < 3 && fgets(line, sizeof line, f) != NULL; n++) {
        const char *minus = strchr(line, '-'); /* status link level: the level is the first negative number */
        if (n == 2 && minus != NULL) {
            level = (int32_t)strtol(minus, NULL, 10);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return level;
}

void pag_posix_take_environment(struct pag_posix *p)
{
    const char *slot = getenv("PAG_SLOT");
    const char *loader = getenv("PAG_LOADER");
    const char *count = getenv("PAG_RESTARTS");
    const char *reason = getenv("PAG_RESET_REASON");
    p->slot = slot != NULL && slot[0] == 'B' ? 1 : 0;
    p->watchdog = loader != NULL;
    if (loader != NULL && strlen(loader) < sizeof p->loader) {
        memcpy(p->loader, loader, strlen(loader) + 1);
    }
    p->restarts = count != NULL ? (uint32_t)strtoul(count, NULL, 10) : 0;
    if (reason != NULL && strlen(reason) < sizeof p->reset_reason) {
        memcpy(p->reset_reason, reason, strlen(reason) + 1);
    }
}

/* ---- opening ---- */

static enum pag_err open_area(struct pag_posix *p, enum pag_area area, uint32_t slot_bytes)
{
    char path[PAG_POSIX_PATH + 16];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", p->dir, area_names[area]);
    p->area[area] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->area[area] < 0 || fstat(p->area[area], &st) != 0) {
        return PAG_E_IO;
    }
    bool slot = area == PAG_AREA_SLOT_A || area == PAG_AREA_SLOT_B;
    bool fresh = st.st_size == 0;
    off_t size = fresh ? (slot ? (off_t)slot_bytes : AREA_MIN) : st.st_size;
    if (size % PAG_POSIX_SECTOR != 0 || size < AREA_MIN || size > INT32_MAX) {
        return PAG_E_CONFIG;
    }
    p->port.flash.area_bytes[area] = (uint32_t)size;
    return fresh ? flash_erase(p, area, 0, (uint32_t)size) : PAG_OK;
}

enum pag_err pag_posix_open(struct pag_posix *p, const char *dir, uint32_t slot_bytes)
{
    memset(p, 0, sizeof *p);
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        p->area[a] = -1;
    }
    for (size_t i = 0; i < PAG_POSIX_CONNS; i++) {
        p->conn[i].fd = -1;
    }
    if (strlen(dir) >= sizeof p->dir) {
        return PAG_E_SPACE;
    }
    memcpy(p->dir, dir, strlen(dir) + 1);
    p->port.ctx = p;
    p->port.flash.sector_bytes = PAG_POSIX_SECTOR;
    p->port.flash.erase = flash_erase;
    p->port.flash.program = flash_program;
    p->port.flash.read = flash_read;
    pag_posix_net(&p->port);
    p->port.crypto = pag_posix_crypto();
    p->port.now_ms = now_ms;
    p->port.now_unix_s = now_unix_s;
    p->port.random = fill_random;
    p->port.make_csr = pag_posix_make_csr;
    p->port.running_slot = running_slot;
    p->port.reboot = do_reboot;
    p->port.feed_watchdog = feed_watchdog;
    p->port.log = log_line;
    p->port.free_heap = free_heap;
    p->port.rssi_dbm = rssi_dbm;
    p->port.restarts = restarts;
    p->port.reset_reason = reset_reason;
    (void)signal(SIGPIPE, SIG_IGN);
    enum pag_err err = PAG_OK;
    for (int a = 0; a < PAG_AREA_COUNT && err == PAG_OK; a++) {
        err = open_area(p, (enum pag_area)a, slot_bytes != 0 ? slot_bytes : PAG_POSIX_SLOT_BYTES);
    }
    if (err != PAG_OK) {
        pag_posix_close(p);
    }
    return err;
}

void pag_posix_close(struct pag_posix *p)
{
    pag_posix_net_close_all(p);
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        if (p->area[a] >= 0) {
            close(p->area[a]);
            p->area[a] = -1;
        }
    }
}
