/* Topics of one product's Tasmotas that would lie among another's. */
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/mqtt/head.h"
#include "server/api/mqtt/tasmota.h"
#include "server/app/broker_users.h"
#include "server/app/releases.h"

enum { DEPTH_MAX = 64 }; /* topics have fewer levels */

struct place {
    const char *topic; /* ends with '/' */
    bool mine;
    const char *user;
};

struct places {
    struct pag_call call; /* sees all products */
    const char *product;
    const char *full_topic; /* its own, NULL: as it is set */
    struct place *item;
    size_t n;
    char read[PAG_PRODUCT_HEX]; /* whose settings these are: */
    bool speaks;
    struct pag_tasmota_settings settings;
};

static bool settings_of(struct places *p, const char *product)
{
    if (strcmp(p->read, product) != 0) {
        (void)pag_text_copy(p->read, sizeof p->read, pag_span_str(product));
        p->speaks = pag_head_tasmota_settings(&p->call, product, &p->settings) == PAG_OK;
        if (strcmp(product, p->product) == 0 && p->full_topic != NULL) {
            p->speaks = pag_text_copy(p->settings.full_topic, sizeof p->settings.full_topic,
                                      pag_span_str(p->full_topic)) == PAG_OK;
        }
    }
    return p->speaks;
}

static enum pag_err add(struct places *p, const struct pag_broker_account *a)
{
    char topic[PAG_TASMOTA_TOPIC_MAX];
    if (a->topic[0] == '\0' || !settings_of(p, a->product)) {
        return PAG_OK;
    }
    for (int i = 0; i < PAG_TASMOTA_PREFIXES; i++) {
        const struct pag_tasmota_place at = { (enum pag_tasmota_prefix)i, a->topic, a->device, "" };
        enum pag_err err = pag_tasmota_topic_put(pag_span_str(p->settings.full_topic), &at, topic);
        const char *text = err == PAG_OK ? pag_arena_text(p->call.arena, pag_span_str(topic)) : NULL;
        if (text == NULL) {
            return err != PAG_OK ? err : PAG_E_NO_MEMORY;
        }
        p->item[p->n++] = (struct place){ text, strcmp(a->product, p->product) == 0, a->user };
    }
    return PAG_OK;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->topic, ((const struct place *)b)->topic);
}

/* The user of one or of what it lies below, where just one of both is the product's own; NULL: no such pair.
 */
static const char *other_of(const struct place *const *above, size_t depth, const struct place *one)
{
    for (size_t k = 0; k < depth; k++) {
        if (above[k]->mine != one->mine) {
            return one->mine ? above[k]->user : one->user;
        }
    }
    return NULL;
}

/* Sorted, what begins with a topic follows it at once: above holds those that the one at hand begins with. */
static const char *find(const struct places *p)
{
    const struct place *above[DEPTH_MAX];
    size_t depth = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct place *one = &p->item[i];
        while (depth > 0 && !pag_span_starts(pag_span_str(one->topic), above[depth - 1]->topic)) {
            depth--;
        }
        const char *other = other_of(above, depth, one);
        if (other != NULL) {
            return other;
        }
        if (depth < DEPTH_MAX) {
            above[depth++] = one;
        }
    }
    return NULL;
}

enum pag_err pag_head_tasmota_clash(struct pag_call *call, const struct pag_tasmota_change *change,
                                    const char **user)
{
    struct places *p = pag_arena_alloc(call->arena, sizeof *p);
    struct pag_broker_account *list = NULL;
    size_t n = 0;
    if (p == NULL) {
        return PAG_E_NO_MEMORY;
    }
    p->call = *call;
    p->call.scope.product = NULL;
    p->product = change->product;
    p->full_topic = change->full_topic;
    enum pag_err err = pag_app_broker_users(&p->call, NULL, &list, &n);
    p->item =
        err == PAG_OK ? pag_arena_alloc(call->arena, PAG_TASMOTA_PREFIXES * (n + 1) * sizeof *p->item) : NULL;
    if (p->item == NULL) {
        return err != PAG_OK ? err : PAG_E_NO_MEMORY;
    }
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        err = add(p, &list[i]);
    }
    err = err == PAG_OK && change->account != NULL ? add(p, change->account) : err;
    qsort(p->item, p->n, sizeof *p->item, compare);
    *user = err == PAG_OK ? find(p) : NULL;
    return err;
}
