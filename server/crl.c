#include "server/crl.h"

#include <stdlib.h>

#include "host/fs.h"

enum { AGAIN_S = 60 /* after a failure */ };

enum pag_err pag_crl_write(struct pag_crl *crl, const struct pag_revoked *revoked, size_t n,
                           uint64_t now_unix_ms)
{
    struct pag_buf pem = { NULL, 0, 0 };
    uint64_t now_s = now_unix_ms / 1000;
    /* Milliseconds rise over restarts without anything being kept. */
    uint64_t number = now_unix_ms > crl->number ? now_unix_ms : crl->number + 1;
    const struct pag_crl_order order = { revoked, n, number, now_s, crl->valid_s };
    enum pag_err err = pag_ca_crl(crl->ca, &order, &pem, NULL);
    if (err == PAG_OK) {
        err = pag_fs_write(crl->path, (struct pag_span){ pem.p, pem.n }, 0600, NULL);
    }
    free(pem.p);
    crl->due_s = now_s + (err == PAG_OK ? crl->every_s : AGAIN_S);
    if (err == PAG_OK) {
        crl->number = number;
        crl->until_s = now_s + crl->valid_s;
    }
    return err;
}
