#include "ports/template/template_port.h"

#include "core/mem.h"

enum { SECTOR = 4096, RECORDS = 2 * SECTOR, SLOT = 0x1E0000 };

/* What refuses everything writes to nothing; the signatures are those of agent/port.h. */
/* NOLINTBEGIN(readability-non-const-parameter) */

/* ---- flash: erase sets a whole sector to 0xFF, program only clears bits ---- */

static enum pag_err flash_erase(void *ctx, enum pag_area area, uint32_t off, uint32_t n)
{
    (void)ctx;
    (void)area;
    (void)off;
    (void)n;
    return PAG_E_UNSUPPORTED;
}

static enum pag_err flash_program(void *ctx, enum pag_area area, uint32_t off, struct pag_span data)
{
    (void)ctx;
    (void)area;
    (void)off;
    (void)data;
    return PAG_E_UNSUPPORTED;
}

static enum pag_err flash_read(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n)
{
    (void)ctx;
    (void)area;
    (void)off;
    (void)out;
    (void)n;
    return PAG_E_UNSUPPORTED;
}

/* ---- network: never waits; PAG_E_AGAIN means later ---- */

static enum pag_err net_open(void *ctx, const char *host, uint16_t port, const struct pag_net_trust *trust,
                             struct pag_conn *out)
{
    (void)ctx;
    (void)host;
    (void)port;
    (void)trust;
    (void)out;
    return PAG_E_UNSUPPORTED;
}

static enum pag_err net_ready(void *ctx, struct pag_conn *c)
{
    (void)ctx;
    (void)c;
    return PAG_E_UNSUPPORTED;
}

static enum pag_err net_read(void *ctx, struct pag_conn *c, uint8_t *out, size_t *n)
{
    (void)ctx;
    (void)c;
    (void)out;
    (void)n;
    return PAG_E_UNSUPPORTED;
}

static enum pag_err net_write(void *ctx, struct pag_conn *c, const uint8_t *data, size_t *n)
{
    (void)ctx;
    (void)c;
    (void)data;
    (void)n;
    return PAG_E_UNSUPPORTED;
}

/* NOLINTEND(readability-non-const-parameter) */

static void net_close(void *ctx, struct pag_conn *c)
{
    (void)ctx;
    c->p = NULL;
}

/* ---- crypto: of the board's SDK ---- */

static void sha256_begin(struct pag_sha256 *h)
{
    memset(h, 0, sizeof *h);
}

static void sha256_add(struct pag_sha256 *h, struct pag_span data)
{
    (void)h;
    (void)data;
}

static void sha256_end(struct pag_sha256 *h, uint8_t out[PAG_SHA256_BYTES])
{
    (void)h;
    memset(out, 0, PAG_SHA256_BYTES);
}

static enum pag_err p256_verify(const uint8_t point[PAG_P256_POINT_BYTES],
                                const uint8_t digest[PAG_SHA256_BYTES], const uint8_t sig[PAG_P256_SIG_BYTES])
{
    (void)point;
    (void)digest;
    (void)sig;
    return PAG_E_UNSUPPORTED; /* refuses every signature, which is the safe way to be unfinished */
}

static const struct pag_crypto crypto = { sha256_begin, sha256_add, sha256_end, p256_verify };

/* ---- the rest ---- */

static uint32_t now_ms(void *ctx)
{
    const struct pag_template *board = ctx;
    return board->ms;
}

static uint64_t now_unix_s(void *ctx)
{
    (void)ctx;
    return 0; /* unknown */
}

static void fill_random(void *ctx, uint8_t *out, size_t n)
{
    (void)ctx;
    memset(out, 0, n); /* must be hardware random numbers before the device meets a network */
}

static enum pag_err make_csr(void *ctx, const char *id, struct pag_buf *key_der, struct pag_buf *csr_der)
{
    (void)ctx;
    (void)id;
    (void)key_der;
    (void)csr_der;
    return PAG_E_UNSUPPORTED;
}

static uint8_t running_slot(void *ctx)
{
    (void)ctx;
    return 0;
}

static void do_reboot(void *ctx)
{
    (void)ctx;
}

void pag_template_port(struct pag_port *port, struct pag_template *board)
{
    *port = (struct pag_port){
        .ctx = board,
        .flash = { .sector_bytes = SECTOR,
                   .area_bytes = { RECORDS, RECORDS, RECORDS, SLOT, SLOT },
                   .erase = flash_erase,
                   .program = flash_program,
                   .read = flash_read },
        .net = { net_open, net_ready, net_read, net_write, net_close },
        .crypto = &crypto,
        .now_ms = now_ms,
        .now_unix_s = now_unix_s,
        .random = fill_random,
        .make_csr = make_csr,
        .running_slot = running_slot,
        .reboot = do_reboot,
        /* feed_watchdog, log, rssi_dbm, free_heap and measure may stay NULL */
    };
}
