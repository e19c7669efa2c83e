#include "server/crl.h"

#include <stdlib.h>
#include <string.h>

#include "host/fs.h"

enum { AGAIN_S = 60 /* after a failure */ };

/* The lists of both authorities, one behind the other: serials are too long to be confused. */
static enum pag_err make(const struct pag_crl *crl, const struct pag_crl_order *order, struct pag_buf pem[2])
{
    enum pag_err err = pag_ca_crl(crl->ca, order, &pem[0], NULL);
    return err == PAG_OK && crl->old != NULL ? pag_ca_crl(crl->old, order, &pem[1], NULL) : err;
}

static enum pag_err put(const char *path, const struct pag_buf pem[2])
{
    size_t n = pem[0].n + pem[1].n;
    uint8_t *both = malloc(n + 1);
    if (both == NULL) {
        return PAG_E_NO_MEMORY;
    }
    memcpy(both, pem[0].p, pem[0].n);
    if (pem[1].n > 0) {
        memcpy(both + pem[0].n, pem[1].p, pem[1].n);
    }
    enum pag_err err = pag_fs_write(path, (struct pag_span){ both, n }, 0600, NULL);
    free(both);
    return err;
}

enum pag_err pag_crl_write(struct pag_crl *crl, const struct pag_revoked *revoked, size_t n,
                           uint64_t now_unix_ms)
{
    struct pag_buf pem[2] = { { NULL, 0, 0 }, { NULL, 0, 0 } };
    uint64_t now_s = now_unix_ms / 1000;
    /* Milliseconds rise over restarts without anything being kept. */
    uint64_t number = now_unix_ms > crl->number ? now_unix_ms : crl->number + 1;
    const struct pag_crl_order order = { revoked, n, number, now_s, crl->valid_s };
    enum pag_err err = make(crl, &order, pem);
    err = err == PAG_OK ? put(crl->path, pem) : err;
    free(pem[0].p);
    free(pem[1].p);
    crl->due_s = now_s + (err == PAG_OK ? crl->every_s : AGAIN_S);
    if (err == PAG_OK) {
        crl->number = number;
        crl->until_s = now_s + crl->valid_s;
    }
    return err;
}
