#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): realpath, O_NOFOLLOW */
#include "server/broker.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host/fs.h"
#include "server/broker_priv.h"

const char *pag_broker_state_word(enum pag_broker_state state)
{
    switch (state) {
    case PAG_BROKER_STOPPED:
        return "stopped";
    case PAG_BROKER_STARTING:
        return "starting";
    case PAG_BROKER_RUNNING:
        return "running";
    case PAG_BROKER_WAITING:
        return "waiting";
    }
    return "unknown";
}

void pag_broker_status_get(struct pag_broker *b, struct pag_broker_status *out)
{
    (void)pthread_mutex_lock(&b->lock);
    *out = b->status;
    (void)pthread_mutex_unlock(&b->lock);
}

/* ---- files ---- */

static enum pag_err write_users(struct pag_broker *b, enum pag_broker_file which, const char *path)
{
    struct pag_buf text = { NULL, 0, 0 };
    enum pag_err err = pag_broker_users_text(&b->lists.users, which, &text);
    if (err == PAG_OK) {
        err = pag_fs_write(path, (struct pag_span){ text.p, text.n }, 0600, NULL);
    }
    free(text.p);
    return err;
}

static enum pag_err write_acl(struct pag_broker *b)
{
    struct pag_buf text = { NULL, 0, 0 };
    enum pag_err err = pag_broker_lists_text(&b->lists, &text);
    if (err == PAG_OK) {
        err = pag_fs_write(b->acl, (struct pag_span){ text.p, text.n }, 0600, NULL);
    }
    free(text.p);
    return err;
}

enum pag_err pag_broker_write_lists(struct pag_broker *b)
{
    enum pag_err err = write_acl(b);
    err = err == PAG_OK ? write_users(b, PAG_BROKER_FILE_RIGHTS, b->users_acl) : err;
    err = err == PAG_OK ? write_users(b, PAG_BROKER_FILE_PASSWORDS, b->passwords) : err;
    enum pag_err crl_err = pag_crl_write(&b->crl, b->lists.revoked, b->lists.revoked_n,
                                         b->config.clock.now_unix_ms(b->config.clock.ctx));
    err = err == PAG_OK ? crl_err : err;
    (void)pthread_mutex_lock(&b->lock);
    b->status.crl_number = b->crl.number;
    b->status.crl_until_s = b->crl.until_s;
    b->reload.pending = true;
    pag_broker_tell(b);
    (void)pthread_mutex_unlock(&b->lock);
    if (err != PAG_OK) {
        pag_log_error(b->config.log, "broker.lists", PAG_F_STR("error", pag_err_word(err)));
    }
    return err;
}

/* ---- lists from outside ---- */

void pag_broker_kick(struct pag_broker *b, const char *cn)
{
    char path[PAG_BROKER_PATH + 80];
    if (b->plugin[0] == '\0' || !(pag_x509_id_ok(cn) || pag_broker_user_ok(cn)) ||
        pag_fs_join(path, sizeof path, b->kick, cn) != PAG_OK) {
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        (void)futimens(fd, NULL); /* the plugin counts from here */
        (void)close(fd);
    }
}

enum pag_err pag_broker_deny(struct pag_broker *b, const struct pag_revoked *revoked, const char *cn)
{
    enum pag_err err = PAG_OK;
    (void)pthread_mutex_lock(&b->files);
    if (revoked != NULL) {
        err = pag_broker_lists_revoke(&b->lists, revoked);
    }
    if (err == PAG_OK && cn != NULL) {
        err = pag_broker_lists_deny(&b->lists, cn);
    }
    if (err == PAG_OK) {
        err = pag_broker_write_lists(b);
    }
    (void)pthread_mutex_unlock(&b->files);
    if (cn != NULL) {
        pag_broker_kick(b, cn);
    }
    return err;
}

enum pag_err pag_broker_allow(struct pag_broker *b, const char *cn)
{
    enum pag_err err = PAG_OK;
    (void)pthread_mutex_lock(&b->files);
    if (pag_broker_lists_denies(&b->lists, cn)) {
        pag_broker_lists_allow(&b->lists, cn);
        err = pag_broker_write_lists(b);
    }
    (void)pthread_mutex_unlock(&b->files);
    return err;
}

static enum pag_err fill_denials(struct pag_broker_lists *lists, const struct pag_broker_denials *all)
{
    enum pag_err err = PAG_OK;
    for (size_t i = 0; i < all->revoked_n && err == PAG_OK; i++) {
        err = pag_broker_lists_revoke(lists, &all->revoked[i]);
    }
    for (size_t i = 0; i < all->denied_n && err == PAG_OK; i++) {
        err = pag_broker_lists_deny(lists, all->denied[i]);
    }
    return err;
}

enum pag_err pag_broker_set_denials(struct pag_broker *b, const struct pag_broker_denials *all)
{
    struct pag_broker_lists fresh;
    memset(&fresh, 0, sizeof fresh);
    enum pag_err err = fill_denials(&fresh, all);
    if (err != PAG_OK) {
        pag_broker_lists_free(&fresh);
        return err;
    }
    (void)pthread_mutex_lock(&b->files);
    struct pag_broker_lists old = b->lists;
    fresh.topics = old.topics;
    fresh.topics_n = old.topics_n;
    old.topics = NULL;
    old.topics_n = 0;
    fresh.users = old.users;
    memset(&old.users, 0, sizeof old.users);
    b->lists = fresh;
    err = pag_broker_write_lists(b);
    for (size_t i = 0; i < b->lists.denied_n; i++) {
        if (!pag_broker_lists_denies(&old, b->lists.denied[i])) {
            pag_broker_kick(b, b->lists.denied[i]);
        }
    }
    (void)pthread_mutex_unlock(&b->files);
    pag_broker_lists_free(&old);
    return err;
}

enum pag_err pag_broker_set_topics(struct pag_broker *b, const struct pag_broker_topic *topics, size_t n,
                                   char text[256])
{
    (void)pthread_mutex_lock(&b->files);
    enum pag_err err = pag_broker_lists_topics(&b->lists, topics, n, text);
    if (err == PAG_OK) {
        err = pag_broker_write_lists(b);
    }
    (void)pthread_mutex_unlock(&b->files);
    return err;
}

enum pag_err pag_broker_set_users(struct pag_broker *b, const struct pag_broker_users *users)
{
    struct pag_broker_users fresh;
    memset(&fresh, 0, sizeof fresh);
    enum pag_err err = pag_broker_users_copy(users, &fresh);
    if (err != PAG_OK) {
        return err;
    }
    (void)pthread_mutex_lock(&b->files);
    struct pag_broker_users old = b->lists.users;
    b->lists.users = fresh;
    err = pag_broker_write_lists(b);
    for (size_t i = 0; i < old.n; i++) {
        if (!pag_broker_users_has(&fresh, old.user[i].name, old.user[i].hash)) {
            pag_broker_kick(b, old.user[i].name);
        }
    }
    (void)pthread_mutex_unlock(&b->files);
    pag_broker_users_free(&old);
    return err;
}

enum pag_err pag_broker_reload(struct pag_broker *b)
{
    (void)pthread_mutex_lock(&b->files);
    enum pag_err err = pag_broker_write_lists(b);
    (void)pthread_mutex_unlock(&b->files);
    return err;
}

void pag_broker_set_authorities(struct pag_broker *b, const struct pag_ca *ca, const struct pag_ca *old)
{
    (void)pthread_mutex_lock(&b->files);
    b->config.device_ca = ca;
    b->config.old_ca = old;
    b->crl.ca = ca;
    b->crl.old = old;
    (void)pthread_mutex_unlock(&b->files);
}

/* ---- making and ending ---- */

static enum pag_err say(char text[256], enum pag_err err, const char *what, const char *which)
{
    if (text != NULL) {
        (void)snprintf(text, 256, "%s: %.180s", what, which);
    }
    return err;
}

/* Absolute path of an existing file, so that the child's folder does not matter. */
static enum pag_err resolve(const char *path, char out[PAG_BROKER_PATH], char text[256])
{
    char *full = path == NULL ? NULL : realpath(path, NULL);
    if (full == NULL || strlen(full) >= PAG_BROKER_PATH) {
        free(full);
        return say(text, PAG_E_CONFIG, "no such file", path == NULL ? "" : path);
    }
    memcpy(out, full, strlen(full) + 1);
    free(full);
    return PAG_OK;
}

static bool is_of(const struct pag_ca *ca, const struct pag_x509_info *info)
{
    return ca != NULL && memcmp(info->key_sha256, pag_ca_info(ca)->key_sha256, sizeof info->key_sha256) == 0;
}

/* The broker takes clients of every authority in this file, so it must hold the device authority, the one
 * before while that is in force, and no other. */
static bool anchors_fit(const struct pag_broker *b, const char *pem)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    bool found = false;
    for (const char *at = strstr(pem, begin); at != NULL; at = strstr(at + 1, begin)) {
        const char *next = strstr(at + 1, begin);
        size_t n = next != NULL ? (size_t)(next - at) : strlen(at);
        struct pag_x509_info info;
        if (pag_x509_info((struct pag_span){ (const uint8_t *)at, n }, &info) != PAG_OK ||
            (!is_of(b->config.device_ca, &info) && !is_of(b->config.old_ca, &info))) {
            return false;
        }
        found = found || is_of(b->config.device_ca, &info);
    }
    return found;
}

static enum pag_err check_anchor(const struct pag_broker *b, char text[256])
{
    struct pag_buf pem = { NULL, 0, 0 };
    if (pag_fs_read(b->anchor, 65536, &pem, NULL) != PAG_OK) {
        return say(text, PAG_E_CONFIG, "cannot read", b->anchor);
    }
    bool fit = anchors_fit(b, (const char *)pem.p);
    pag_fs_buf_free(&pem);
    return fit ? PAG_OK : say(text, PAG_E_CONFIG, "must hold the device authority and no other", b->anchor);
}

static enum pag_err place_files(struct pag_broker *b, const struct pag_broker_config *config, char text[256])
{
    if (pag_fs_mkdirs(config->dir, 0700, NULL) != PAG_OK) {
        return say(text, PAG_E_IO, "cannot make folder", config->dir);
    }
    enum pag_err err = resolve(config->dir, b->dir, text);
    err = err != PAG_OK ? err : resolve(config->anchor_file, b->anchor, text);
    err = err != PAG_OK ? err : resolve(config->cert_file, b->cert, text);
    err = err != PAG_OK ? err : resolve(config->key_file, b->key, text);
    if (err != PAG_OK) {
        return err;
    }
    bool fits = pag_fs_join(b->conf, sizeof b->conf, b->dir, "mosquitto.conf") == PAG_OK &&
                pag_fs_join(b->acl, sizeof b->acl, b->dir, "acl") == PAG_OK &&
                pag_fs_join(b->users_acl, sizeof b->users_acl, b->dir, "users.acl") == PAG_OK &&
                pag_fs_join(b->passwords, sizeof b->passwords, b->dir, "passwords") == PAG_OK &&
                pag_fs_join(b->crl.path, sizeof b->crl.path, b->dir, "device-ca.crl.pem") == PAG_OK &&
                pag_fs_join(b->kick, sizeof b->kick, b->dir, "kick") == PAG_OK;
    if (!fits || pag_fs_mkdirs(b->kick, 0700, NULL) != PAG_OK || chmod(b->dir, 0700) != 0) {
        return say(text, PAG_E_IO, "cannot prepare folder", b->dir);
    }
    if (config->plugin != NULL && resolve(config->plugin, b->plugin, NULL) != PAG_OK) {
        pag_log_warn(config->log, "broker.plugin_missing", PAG_F_STR("path", config->plugin));
    }
    return PAG_OK;
}

static bool is_address(const char *text)
{
    struct in6_addr a;
    return strlen(text) < 64 && (inet_pton(AF_INET, text, &a) == 1 || inet_pton(AF_INET6, text, &a) == 1);
}

static enum pag_err configure(struct pag_broker *b, const struct pag_broker_config *config, char text[256])
{
    const char *plain = config->plain_address != NULL ? config->plain_address : config->address;
    if (!is_address(config->address) || !is_address(plain)) {
        return say(text, PAG_E_CONFIG, "not an address", is_address(plain) ? config->address : plain);
    }
    if (strlen(config->mosquitto) >= sizeof b->mosquitto) {
        return say(text, PAG_E_CONFIG, "path is too long", config->mosquitto);
    }
    memcpy(b->mosquitto, config->mosquitto, strlen(config->mosquitto) + 1);
    memcpy(b->address, config->address, strlen(config->address) + 1);
    memcpy(b->plain_address, plain, strlen(plain) + 1);
    enum pag_err err = place_files(b, config, text);
    if (err != PAG_OK) {
        return err;
    }
    b->config = *config;
    b->config.dir = b->dir;
    b->config.mosquitto = b->mosquitto;
    b->config.plugin = b->plugin;
    b->config.address = b->address;
    b->config.plain_address = b->plain_address;
    b->config.anchor_file = b->anchor;
    b->config.cert_file = b->cert;
    b->config.key_file = b->key;
    b->config.topics = NULL;
    b->config.topics_n = 0;
    b->crl.ca = config->device_ca;
    b->crl.old = config->old_ca;
    b->crl.valid_s = config->crl_s;
    b->crl.every_s = config->crl_every_s;
    b->port = config->port;
    b->status.port = config->port;
    b->password_port = config->password ? config->password_port : 0;
    b->plain_port = config->plain ? config->plain_port : 0;
    b->status.password_port = b->password_port;
    b->status.plain_port = b->plain_port;
    b->status.plugin = b->plugin[0] != '\0';
    err = check_anchor(b, text);
    return err != PAG_OK ? err : pag_broker_lists_topics(&b->lists, config->topics, config->topics_n, text);
}

static void release(struct pag_broker *b)
{
    pag_broker_lists_free(&b->lists);
    (void)pthread_mutex_destroy(&b->files);
    (void)pthread_mutex_destroy(&b->lock);
    (void)pthread_cond_destroy(&b->changed);
    if (b->wake >= 0) {
        (void)close(b->wake);
    }
    free(b);
}

enum pag_err pag_broker_new(const struct pag_broker_config *config, struct pag_broker **out, char text[256],
                            struct pag_fail *why)
{
    struct pag_broker *b = calloc(1, sizeof *b);
    if (b == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for the broker", 0);
    }
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&b->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&b->files, NULL);
    (void)pthread_mutex_init(&b->lock, NULL);
    b->child.out_fd = -1;
    b->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum pag_err err = b->wake < 0 ? PAG_E_IO : configure(b, config, text);
    if (err != PAG_OK) {
        release(b);
        return pag_fail_set(why, err, "the broker cannot be configured", 0);
    }
    *out = b;
    return PAG_OK;
}

enum pag_err pag_broker_start(struct pag_broker *b, uint32_t wait_ms)
{
    (void)pthread_mutex_lock(&b->files);
    enum pag_err err = pag_broker_write_lists(b);
    (void)pthread_mutex_unlock(&b->files);
    if (err != PAG_OK) {
        return err;
    }
    if (pthread_create(&b->thread, NULL, pag_broker_run, b) != 0) {
        return PAG_E_NO_MEMORY;
    }
    b->has_thread = true;
    struct timespec until = { 0, 0 };
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&b->lock);
    int late = 0;
    while (b->status.state != PAG_BROKER_RUNNING && late == 0) {
        late = pthread_cond_timedwait(&b->changed, &b->lock, &until);
    }
    bool up = b->status.state == PAG_BROKER_RUNNING;
    (void)pthread_mutex_unlock(&b->lock);
    return up ? PAG_OK : PAG_E_TIMEOUT;
}

void pag_broker_free(struct pag_broker *b)
{
    if (b == NULL) {
        return;
    }
    if (b->has_thread) {
        atomic_store(&b->stop, true);
        (void)eventfd_write(b->wake, 1);
        (void)pthread_join(b->thread, NULL);
    }
    release(b);
}
