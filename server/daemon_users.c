/* Clients of the managed broker with a password: what each may do follows from its product. */
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/mqtt/head.h"
#include "server/app/broker_users.h"
#include "server/app/dialect.h"
#include "server/app/releases.h"
#include "server/daemon.h"
#include "server/domain/tasmota.h"

enum { RIGHTS_MAX = 8, OWN_MAX = 4 * PAG_TEMPLATES_MAX };

struct building {
    struct pag_call *call;
    struct pag_log *log;
    struct pag_broker_users users;
    const struct pag_broker_account *account; /* at hand */
    struct pag_broker_topic *right;
    size_t right_n;
};

/* What cannot stand in the broker's files is left out: the settings of one product must not hold up the users
 * of all. */
static bool fits(struct building *b, const struct pag_broker_topic *right, bool own)
{
    bool ok = pag_broker_right_ok(right, own);
    if (!ok) {
        pag_log_error(b->log, "broker.right_left_out", PAG_F_STR("user", b->account->user),
                      PAG_F_STR("topic", right->pattern));
    }
    return ok;
}

static void right_add(struct building *b, const char *pattern, enum pag_broker_access access)
{
    const struct pag_broker_topic right = { pattern, access };
    if (pattern != NULL && pattern[0] != '\0' && b->right_n < RIGHTS_MAX && fits(b, &right, false)) {
        b->right[b->right_n++] = right;
    }
}

static void own_add(struct building *b, const char *pattern, enum pag_broker_access access)
{
    struct pag_broker_users *u = &b->users;
    for (size_t i = 0; i < u->own_n; i++) {
        if (u->own[i].access == access && strcmp(u->own[i].pattern, pattern) == 0) {
            return;
        }
    }
    const struct pag_broker_topic right = { pattern, access };
    if (u->own_n < OWN_MAX && fits(b, &right, true)) {
        u->own[u->own_n++] = right;
    }
}

/* ---- Tasmota ---- */

static const char *place_of(struct building *b, const char *full, const struct pag_tasmota_place *at)
{
    char topic[PAG_TASMOTA_TOPIC_MAX];
    enum pag_err err = pag_tasmota_topic_put(pag_span_str(full), at, topic);
    return err == PAG_OK ? pag_arena_text(b->call->arena, pag_span_str(topic)) : NULL;
}

/* The MAC in upper case, as the device writes it. */
static const char *discovery_of(struct building *b)
{
    const struct pag_tasmota_place at = { PAG_TASMOTA_TELE, "discovery", b->account->device, "#" };
    char topic[PAG_TASMOTA_TOPIC_MAX];
    enum pag_err err = pag_tasmota_topic_put(pag_span_str("tasmota/%topic%/%id%/"), &at, topic);
    return err == PAG_OK ? pag_arena_text(b->call->arena, pag_span_str(topic)) : NULL;
}

static void rights_of_tasmota(struct building *b, const struct pag_tasmota_settings *s)
{
    static const struct {
        enum pag_tasmota_prefix prefix;
        enum pag_broker_access user, own;
    } parts[] = { { PAG_TASMOTA_CMND, PAG_BROKER_READ, PAG_BROKER_COMMAND },
                  { PAG_TASMOTA_STAT, PAG_BROKER_WRITE, PAG_BROKER_WRITE },
                  { PAG_TASMOTA_TELE, PAG_BROKER_WRITE, PAG_BROKER_WRITE } };
    char mac[13];
    for (size_t i = 0; b->account->topic[0] != '\0' && i < sizeof parts / sizeof parts[0]; i++) {
        const struct pag_tasmota_place of_user = { parts[i].prefix, b->account->topic, b->account->device,
                                                   "#" };
        const struct pag_tasmota_place of_all = { parts[i].prefix, "+", "+", "#" };
        const char *all = place_of(b, s->full_topic, &of_all);
        right_add(b, place_of(b, s->full_topic, &of_user), parts[i].user);
        if (all != NULL) {
            own_add(b, all, parts[i].own);
        }
    }
    if (pag_mac_text(pag_span_str(b->account->device), mac) == PAG_OK) {
        right_add(b, discovery_of(b), PAG_BROKER_WRITE);
        own_add(b, "tasmota/discovery/#", PAG_BROKER_WRITE);
    }
}

/* ---- topics with the device's id ---- */

static void add_template(struct building *b, const char *tmpl, enum pag_broker_access access)
{
    const char *mark = strstr(tmpl, "{id}");
    if (mark == NULL) {
        return;
    }
    right_add(
        b,
        pag_arena_printf(b->call->arena, "%.*s%s%s", (int)(mark - tmpl), tmpl, b->account->device, mark + 4),
        access);
}

static void rights_of_templates(struct building *b, const struct pag_product *p, enum pag_dialect dialect)
{
    const struct pag_dialect_topic *list = NULL;
    size_t n = pag_dialect_topics(dialect, &list);
    add_template(b, p->settings.topic_command, PAG_BROKER_READ);
    add_template(b, p->settings.topic_status, PAG_BROKER_WRITE);
    add_template(b, p->settings.topic_will, PAG_BROKER_WRITE);
    for (size_t i = 0; i < n; i++) {
        add_template(b, list[i].pattern, list[i].device_reads ? PAG_BROKER_READ : PAG_BROKER_WRITE);
    }
}

static enum pag_err add_user(struct building *b, const struct pag_broker_account *a)
{
    struct pag_product *p = pag_arena_alloc(b->call->arena, sizeof *p);
    struct pag_tasmota_settings s;
    enum pag_dialect dialect = PAG_DIALECT_NONE;
    b->account = a;
    b->right_n = 0;
    b->right = pag_arena_alloc(b->call->arena, RIGHTS_MAX * sizeof *b->right);
    enum pag_err err = p != NULL && b->right != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    err = err == PAG_OK ? pag_app_product(b->call, a->product, p) : err;
    err = err == PAG_OK ? pag_app_dialect_of(b->call, a->product, &dialect) : err;
    if (err != PAG_OK) {
        return err;
    }
    rights_of_templates(b, p, dialect);
    if (dialect == PAG_DIALECT_TASMOTA && pag_head_tasmota_settings(b->call, a->product, &s) == PAG_OK) {
        rights_of_tasmota(b, &s);
    }
    b->users.user[b->users.n++] = (struct pag_broker_user){ a->user, a->hash, b->right, b->right_n };
    return PAG_OK;
}

enum pag_err pag_daemon_users(struct pag_daemon *d, struct pag_call *call)
{
    struct building b = { .call = call, .log = d->log };
    struct pag_broker_account *list = NULL;
    size_t n = 0;
    if (d->broker == NULL) {
        return PAG_OK;
    }
    enum pag_err err = pag_app_broker_users(call, NULL, &list, &n);
    b.users.user = err == PAG_OK ? pag_arena_alloc(call->arena, (n + 1) * sizeof *b.users.user) : NULL;
    b.users.own = b.users.user != NULL ? pag_arena_alloc(call->arena, OWN_MAX * sizeof *b.users.own) : NULL;
    if (b.users.own == NULL) {
        return err != PAG_OK ? err : PAG_E_NO_MEMORY;
    }
    for (size_t i = 0; i < n && err == PAG_OK; i++) {
        err = list[i].refused ? PAG_OK : add_user(&b, &list[i]);
    }
    return err == PAG_OK ? pag_broker_set_users(d->broker, &b.users) : err;
}
