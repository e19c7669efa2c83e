/* HUP: certificates again, and what the configuration may change while serving. */
#include <stdlib.h>
#include <string.h>

#include "server/daemon.h"

static size_t size_of(const struct pag_ini_key *key)
{
    switch (key->type) {
    case PAG_INI_TEXT:
        return key->size;
    case PAG_INI_BOOL:
        return sizeof(bool);
    case PAG_INI_PORT:
        return sizeof(uint16_t);
    case PAG_INI_BYTES:
        return sizeof(uint64_t);
    case PAG_INI_NUMBER:
    case PAG_INI_DURATION:
    case PAG_INI_CHOICE:
        break;
    }
    return sizeof(uint32_t);
}

static bool differs(const struct pag_ini_key *key, const char *a, const char *b)
{
    return key->type == PAG_INI_TEXT ? strcmp(a, b) != 0 : memcmp(a, b, size_of(key)) != 0;
}

/* d->config stays what is in force: a key that needs a restart is named at each HUP until there is one. Only
 * fields that no other thread reads from there are live. */
static void take_over(struct pag_daemon *d, const struct pag_config *fresh)
{
    const struct pag_ini_table *table = pag_config_table();
    for (size_t i = 0; i < table->n; i++) {
        const struct pag_ini_key *key = &table->keys[i];
        char *have = (char *)&d->config + key->offset;
        const char *want = (const char *)fresh + key->offset;
        if (!differs(key, have, want)) {
            continue;
        }
        if (pag_config_live(key)) {
            memcpy(have, want, size_of(key));
            pag_log_info(d->log, "reload.changed", PAG_F_STR("section", key->section),
                         PAG_F_STR("key", key->key));
        } else {
            pag_log_warn(d->log, "reload.needs_restart", PAG_F_STR("section", key->section),
                         PAG_F_STR("key", key->key));
        }
    }
}

static void apply(struct pag_daemon *d)
{
    pag_log_change(d->log, (enum pag_log_level)d->config.server.log_level, d->config.server.log_format == 1);
    pag_app_change(d->app, d->config.device.poll_s, d->config.limits.claims_per_minute,
                   d->config.limits.unproven_devices);
    atomic_store(&d->keep.silence_s, d->config.device.silence_s);
    atomic_store(&d->keep.events_s, d->config.store.events_s);
    pag_daemon_set_limits(d);
}

static void reload_config(struct pag_daemon *d)
{
    struct pag_ini_error error = { .text = "" };
    const struct pag_config_args from = {
        .file = d->args.config, .data = d->args.data, .set = d->args.set, .set_n = d->args.set_n
    };
    struct pag_config *fresh = calloc(1, sizeof *fresh);
    enum pag_err err = fresh != NULL ? pag_config_load(&from, fresh, &error) : PAG_E_NO_MEMORY;
    if (err == PAG_OK) {
        take_over(d, fresh);
        apply(d);
    } else {
        pag_log_error(d->log, "reload.config_refused",
                      PAG_F_STR("why", error.text[0] != '\0' ? error.text : pag_err_word(err)));
    }
    free(fresh);
}

/* Superseded, but somebody may be signing with it. */
static void set_past(struct pag_daemon *d, struct pag_ca *ca)
{
    if (ca != NULL) {
        d->past_ca[d->past_ca_n++] = ca;
    }
}

/* What a roll-over has left in the files becomes what everybody signs with. */
static enum pag_err reload_authorities(struct pag_daemon *d, struct pag_fail *why)
{
    struct pag_ca *ca = NULL;
    struct pag_ca *old = NULL;
    enum pag_err err = d->past_ca_n + 2 > PAG_PAST_CA_MAX
                           ? pag_fail_set(why, PAG_E_LIMIT, "too many authorities: restart pagurusd", 0)
                           : pag_daemon_authorities(d, &ca, &old, why);
    if (err != PAG_OK) {
        return err;
    }
    bool same =
        memcmp(pag_ca_info(ca)->key_sha256, pag_ca_info(d->device_ca)->key_sha256, PAG_SHA256_BYTES) == 0;
    if (same && (old == NULL) == (d->old_ca == NULL)) {
        pag_ca_free(ca);
        pag_ca_free(old);
        return PAG_OK;
    }
    (void)pthread_mutex_lock(&d->certificate_lock);
    set_past(d, d->device_ca);
    set_past(d, d->old_ca);
    d->device_ca = ca;
    d->old_ca = old;
    (void)pthread_mutex_unlock(&d->certificate_lock);
    pag_app_ca_set(d->app, ca);
    if (d->broker != NULL) {
        pag_broker_set_authorities(d->broker, ca, old);
    }
    atomic_store(&d->keep.stale, true);
    pag_log_info(d->log, "reload.authorities", PAG_F_STR("device", pag_ca_info(ca)->subject),
                 PAG_F_STR("old", old != NULL ? pag_ca_info(old)->subject : ""));
    return PAG_OK;
}

static void reload_certificates(struct pag_daemon *d)
{
    struct pag_fail why = { .code = PAG_OK };
    enum pag_err err = reload_authorities(d, &why);
    if (err == PAG_OK) {
        err = pag_tls_reload(d->console_tls, &why);
    }
    if (err == PAG_OK) {
        err = pag_tls_reload(d->device_tls, &why);
    }
    if (err == PAG_OK && d->broker != NULL) {
        err = pag_broker_reload(d->broker);
    }
    if (err == PAG_OK) {
        pag_daemon_read_certificates(d);
        pag_log_info(d->log, "reload.done", PAG_F_STR("certificate", d->paths.server_pem));
    } else {
        pag_log_error(d->log, "reload.failed",
                      PAG_F_STR("why", why.what != NULL ? why.what : pag_err_word(err)));
    }
}

void pag_daemon_reload(struct pag_daemon *d)
{
    reload_config(d);
    reload_certificates(d);
}
