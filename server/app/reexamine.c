#include <string.h>

#include "core/bytes.h"
#include "server/app/image_check.h"

/* Images that were uploaded before their key was registered: docs/spec/legacy-signatures.md. */

struct seen {
    struct pag_image_unread *unread;
    struct pag_image_check check;
    struct pag_release_image found;
    bool moved;
};

struct again {
    struct pag_op op;
    struct seen *seen;
    size_t n;
};

static bool has_moved(const struct seen *s)
{
    const struct pag_release_image *was = &s->unread->image;
    const struct pag_release_image *is = &s->found;
    return (is->has_signed_by && !was->has_signed_by) || (is->has_embedded_key && !was->has_embedded_key);
}

static enum pag_err look(struct pag_op *op)
{
    struct again *a = op->data;
    for (size_t i = 0; i < a->n; i++) {
        struct seen *s = &a->seen[i];
        s->found = s->unread->image;
        s->check.found = pag_arena_alloc(op->call->arena, sizeof *s->check.found);
        if (s->check.found == NULL) {
            return PAG_E_NO_MEMORY;
        }
        memset(s->check.found, 0, sizeof *s->check.found);
        s->moved = pag_image_look_again(op, &s->check, &s->found) == PAG_OK && has_moved(s);
    }
    return PAG_OK;
}

static enum pag_err keep(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct again *a = op->data;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = PAG_OK;
    for (size_t i = 0; err == PAG_OK && i < a->n; i++) {
        const struct seen *s = &a->seen[i];
        if (!s->moved) {
            continue;
        }
        err = pag_image_read_again(db, &s->found);
        err = err == PAG_OK ? pag_image_check_keep(db, &s->check, s->unread->product, &s->found) : err;
        err = err == PAG_OK ? pag_rejudge_want(tx, s->unread->product) : err;
        pag_store_tx_dirty(tx, s->unread->product);
    }
    return err;
}

static void looked(struct pag_op *op, enum pag_err err)
{
    const struct again *a = op->data;
    bool moved = false;
    for (size_t i = 0; err == PAG_OK && i < a->n; i++) {
        moved = moved || a->seen[i].moved;
    }
    if (!moved) {
        op->call->done(op->call, PAG_OK);
        return;
    }
    op->after = pag_rejudge_then_done;
    pag_op_submit(op, keep);
}

static enum pag_err prepare(struct pag_call *call, const char *product, struct again *a)
{
    struct pag_image_unread *list = NULL;
    size_t n = 0;
    enum pag_err err = pag_images_unread(call->thread->db, call->arena, product, &list, &n);
    a->seen = err == PAG_OK ? pag_arena_alloc(call->arena, (n + 1) * sizeof *a->seen) : NULL;
    for (size_t i = 0; a->seen != NULL && err == PAG_OK && i < n; i++) {
        struct seen *s = &a->seen[i];
        *s = (struct seen){ .unread = &list[i] };
        if (i > 0 && strcmp(list[i].product, list[i - 1].product) == 0) {
            s->check.known = s[-1].check.known;
            s->check.known_n = s[-1].check.known_n;
        } else {
            err = pag_verify_keys(call->thread->db, call->arena, list[i].product, &s->check.known,
                                  &s->check.known_n);
        }
    }
    a->n = n;
    return err == PAG_OK && a->seen == NULL ? PAG_E_NO_MEMORY : err;
}

void pag_images_reexamine(struct pag_op *op, const char *product)
{
    struct pag_call *call = op->call;
    struct again *a = pag_arena_alloc(call->arena, sizeof *a);
    if (a == NULL) {
        call->done(call, PAG_OK);
        return;
    }
    memset(a, 0, sizeof *a);
    a->op.call = call;
    a->op.data = a;
    if (prepare(call, product, a) != PAG_OK || a->n == 0) {
        call->done(call, PAG_OK);
        return;
    }
    pag_op_work(&a->op, look, looked);
}
