#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/unconst.h"
#include "server/broker_priv.h"

/* The broker's access list and configuration as text, and the lists they are made of. */

/* ---- lists ---- */

static void free_topics(struct pag_broker_topic *topics, size_t n)
{
    for (size_t i = 0; topics != NULL && i < n; i++) {
        free(pag_unconst(topics[i].pattern));
    }
    free(topics);
}

void pag_broker_lists_free(struct pag_broker_lists *lists)
{
    for (size_t i = 0; i < lists->denied_n; i++) {
        free(lists->denied[i]);
    }
    free(lists->denied);
    free_topics(lists->topics, lists->topics_n);
    pag_broker_users_free(&lists->users);
    free(lists->revoked);
    memset(lists, 0, sizeof *lists);
}

static int compare_serials(const struct pag_revoked *a, const struct pag_revoked *b)
{
    if (a->serial_n != b->serial_n) {
        return a->serial_n < b->serial_n ? -1 : 1;
    }
    return memcmp(a->serial, b->serial, a->serial_n);
}

enum pag_err pag_broker_lists_revoke(struct pag_broker_lists *lists, const struct pag_revoked *entry)
{
    size_t low = 0;
    size_t high = lists->revoked_n;
    if (entry->serial_n == 0 || entry->serial_n > sizeof entry->serial) {
        return PAG_E_RANGE;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_serials(&lists->revoked[middle], entry);
        if (order == 0) {
            return PAG_OK;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    struct pag_revoked *grown = realloc(lists->revoked, (lists->revoked_n + 1) * sizeof *grown);
    if (grown == NULL) {
        return PAG_E_NO_MEMORY;
    }
    memmove(grown + low + 1, grown + low, (lists->revoked_n - low) * sizeof *grown);
    grown[low] = *entry;
    lists->revoked = grown;
    lists->revoked_n++;
    return PAG_OK;
}

/* Index of cn, or where it belongs. */
static size_t denied_at(const struct pag_broker_lists *lists, const char *cn, bool *found)
{
    size_t low = 0;
    size_t high = lists->denied_n;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(lists->denied[middle], cn);
        if (order == 0) {
            *found = true;
            return middle;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return low;
}

bool pag_broker_lists_denies(const struct pag_broker_lists *lists, const char *cn)
{
    bool found = false;
    (void)denied_at(lists, cn, &found);
    return found;
}

enum pag_err pag_broker_lists_deny(struct pag_broker_lists *lists, const char *cn)
{
    bool found = false;
    size_t at = denied_at(lists, cn, &found);
    if (found) {
        return PAG_OK;
    }
    if (!pag_x509_id_ok(cn)) { /* it would be a line of the access list */
        return PAG_E_DENIED;
    }
    char *copy = strdup(cn);
    char **grown = realloc((void *)lists->denied, (lists->denied_n + 1) * sizeof *grown);
    if (grown != NULL) {
        lists->denied = grown;
    }
    if (copy == NULL || grown == NULL) {
        free(copy);
        return PAG_E_NO_MEMORY;
    }
    memmove((void *)(grown + at + 1), (void *)(grown + at), (lists->denied_n - at) * sizeof *grown);
    grown[at] = copy;
    lists->denied_n++;
    return PAG_OK;
}

void pag_broker_lists_allow(struct pag_broker_lists *lists, const char *cn)
{
    bool found = false;
    size_t at = denied_at(lists, cn, &found);
    if (found) {
        free(lists->denied[at]);
        lists->denied_n--;
        memmove((void *)(lists->denied + at), (void *)(lists->denied + at + 1),
                (lists->denied_n - at) * sizeof *lists->denied);
    }
}

/* ---- topics ---- */

/* Next level of a pattern: its length; *at moves behind it and its '/'. */
static size_t level(const char **at, const char **start)
{
    *start = *at;
    size_t n = strcspn(*at, "/");
    *at += n + ((*at)[n] == '/' ? 1 : 0);
    return n;
}

/* NULL or why a pattern cannot be used. */
static const char *pattern_bad(const char *pattern)
{
    unsigned ids = 0;
    const char *at = pattern;
    size_t n = strlen(pattern);
    if (n == 0 || n > 200) {
        return "must have 1 to 200 characters";
    }
    if (pattern[0] == '$' || strncmp(pattern, "pg/", 3) == 0) {
        return "must not begin with $ or pg/";
    }
    for (size_t i = 0; i < n; i++) {
        if (pattern[i] <= 0x20 || pattern[i] > 0x7e || pattern[i] == '%') {
            return "must be printable ASCII without blanks and %";
        }
    }
    while (*at != '\0') {
        const char *start = NULL;
        size_t level_n = level(&at, &start);
        bool id = level_n == 4 && memcmp(start, "{id}", 4) == 0;
        bool wild = level_n == 1 && (*start == '+' || *start == '#');
        ids += id ? 1 : 0;
        if (!id && !wild && strcspn(start, "{}+#") < level_n) {
            return "may have {id}, + and # as whole levels only";
        }
        if (level_n == 1 && *start == '#' && (*at != '\0' || ids == 0)) {
            return "may have # at its end only, after {id}";
        }
    }
    return ids == 1 ? NULL : "must have {id} exactly once";
}

static enum pag_err copy_topics(const struct pag_broker_topic *topics, size_t n,
                                struct pag_broker_topic **out)
{
    struct pag_broker_topic *copy = calloc(n == 0 ? 1 : n, sizeof *copy);
    bool fine = copy != NULL;
    for (size_t i = 0; i < n && fine; i++) {
        copy[i].access = topics[i].access;
        copy[i].pattern = strdup(topics[i].pattern);
        fine = copy[i].pattern != NULL;
    }
    if (!fine) {
        free_topics(copy, n);
        return PAG_E_NO_MEMORY;
    }
    *out = copy;
    return PAG_OK;
}

static const char *topic_bad(const struct pag_broker_topic *topic)
{
    const char *bad = pattern_bad(topic->pattern);
    bool access_ok = topic->access == PAG_BROKER_READ || topic->access == PAG_BROKER_WRITE ||
                     topic->access == PAG_BROKER_COMMAND;
    return bad == NULL && !access_ok ? "is for reading or for writing" : bad;
}

enum pag_err pag_broker_lists_topics(struct pag_broker_lists *lists, const struct pag_broker_topic *topics,
                                     size_t n, char text[256])
{
    size_t at = 0;
    while (at < n && topic_bad(&topics[at]) == NULL) {
        at++;
    }
    if (at < n && text != NULL) {
        (void)snprintf(text, 256, "topic \"%.120s\" %s", topics[at].pattern, topic_bad(&topics[at]));
    }
    if (at < n) {
        return PAG_E_CONFIG;
    }
    struct pag_broker_topic *copy = NULL;
    enum pag_err err = copy_topics(topics, n, &copy);
    if (err == PAG_OK) {
        free_topics(lists->topics, lists->topics_n);
        lists->topics = copy;
        lists->topics_n = n;
    }
    return err;
}

/* ---- access list ---- */

static void put_pattern(FILE *out, const char *pattern, const char *id)
{
    const char *mark = strstr(pattern, "{id}");
    (void)fprintf(out, "%.*s%s%s\n", (int)(mark - pattern), pattern, id, mark + 4);
}

static void put_acl(FILE *out, const struct pag_broker_lists *lists)
{
    const struct pag_broker_topic *topics = lists->topics;
    size_t topics_n = lists->topics_n;
    (void)fputs("# Written by pagurusd; changes are lost. Refusals come first.\n", out);
    for (size_t i = 0; i < lists->denied_n; i++) {
        (void)fprintf(out, "user %s\ntopic deny #\n", lists->denied[i]);
    }
    (void)fputs("\nuser svc-pagurusd\ntopic readwrite pg/v1/#\ntopic read $SYS/#\n", out);
    for (size_t i = 0; i < topics_n; i++) { /* what a device reads the server writes */
        (void)fputs(topics[i].access == PAG_BROKER_READ    ? "topic write "
                    : topics[i].access == PAG_BROKER_WRITE ? "topic read "
                                                           : "topic readwrite ",
                    out);
        put_pattern(out, topics[i].pattern, "+");
    }
    pag_broker_users_put_own(out, &lists->users);
    (void)fputs(
        "\npattern read pg/v1/d/%u/cmd\npattern write pg/v1/d/%u/up/#\npattern write pg/v1/d/%u/will\n", out);
    for (size_t i = 0; i < topics_n; i++) {
        (void)fputs(topics[i].access == PAG_BROKER_WRITE ? "pattern write " : "pattern read ", out);
        put_pattern(out, topics[i].pattern, "%u");
    }
}

/* Closes the stream and hands over what it holds. */
static enum pag_err finish(FILE *out, char **text, const size_t *n, struct pag_buf *buf)
{
    bool bad = ferror(out) != 0;
    bad = fclose(out) != 0 || bad;
    if (bad) {
        free(*text);
        return PAG_E_NO_MEMORY;
    }
    *buf = (struct pag_buf){ (uint8_t *)*text, *n, *n + 1 };
    return PAG_OK;
}

enum pag_err pag_broker_lists_text(const struct pag_broker_lists *lists, struct pag_buf *out)
{
    char *text = NULL;
    size_t n = 0;
    for (size_t i = 0; i < lists->topics_n; i++) {
        if (pattern_bad(lists->topics[i].pattern) != NULL) {
            return PAG_E_CONFIG;
        }
    }
    for (size_t i = 0; i < lists->denied_n; i++) {
        if (!pag_x509_id_ok(lists->denied[i])) {
            return PAG_E_CONFIG;
        }
    }
    FILE *stream = open_memstream(&text, &n);
    if (stream == NULL) {
        return PAG_E_NO_MEMORY;
    }
    put_acl(stream, lists);
    return finish(stream, &text, &n, out);
}

enum pag_err pag_broker_acl_text(const struct pag_broker_topic *topics, size_t topics_n,
                                 const char *const *denied, size_t denied_n, struct pag_buf *out)
{
    struct pag_broker_lists lists = { .denied_n = denied_n, .topics_n = topics_n };
    lists.denied = pag_unconst(denied);
    lists.topics = pag_unconst(topics);
    return pag_broker_lists_text(&lists, out);
}

/* ---- configuration ---- */

/* Options that belong to a listener once there are several kinds of them. */
static void put_rules(FILE *out, const char *acl, const struct pag_broker_conf *c)
{
    (void)fputs("allow_anonymous false\nallow_zero_length_clientid false\n", out);
    (void)fprintf(out, "acl_file %s\n", acl);
    if (c->plugin != NULL && acl == c->acl) { /* it sees the clients of all listeners */
        (void)fprintf(out, "plugin %s\nplugin_opt_kick_dir %s\n", c->plugin, c->kick_dir);
    }
}

static void put_password_listener(FILE *out, const struct pag_broker_conf *c, bool tls)
{
    const struct pag_broker_config *k = c->config;
    (void)fprintf(out, "\nlistener %u %s\nmax_connections %u\n",
                  (unsigned)(tls ? c->password_port : c->plain_port), tls ? k->address : k->plain_address,
                  (unsigned)k->max_connections);
    put_rules(out, c->users_acl, c);
    (void)fprintf(out, "password_file %s\nuse_username_as_clientid true\n", c->passwords);
    if (tls) {
        (void)fprintf(out, "certfile %s\nkeyfile %s\nrequire_certificate false\ntls_version tlsv1.2\n",
                      k->cert_file, k->key_file);
    }
}

static void put_conf(FILE *out, const struct pag_broker_conf *c)
{
    const struct pag_broker_config *k = c->config;
    uint32_t hours = k->session_s / 3600 == 0 ? 1 : k->session_s / 3600;
    bool several = c->password_port != 0 || c->plain_port != 0;
    (void)fprintf(out, "# Written by pagurusd; changes are lost.\nper_listener_settings %s\n",
                  several ? "true" : "false");
    (void)fputs("check_retain_source true\npersistence true\npersistence_file mosquitto.db\n"
                "autosave_interval 300\nmax_inflight_messages 20\nlog_dest stderr\nlog_type error\n"
                "log_type warning\nlog_type notice\nlog_type information\nconnection_messages true\n",
                out);
    if (geteuid() == 0) { /* else it would change to a user who cannot read the keys */
        (void)fputs("user root\n", out);
    }
    (void)fprintf(out, "persistence_location %s/\n", k->dir);
    (void)fprintf(out, "max_packet_size %llu\nmax_keepalive %u\nmax_queued_messages %u\n",
                  (unsigned long long)k->max_packet, (unsigned)k->max_keepalive_s, (unsigned)k->max_queued);
    (void)fprintf(out, "persistent_client_expiration %uh\n", (unsigned)hours);
    if (!several) {
        put_rules(out, c->acl, c);
    }
    (void)fprintf(out, "\nlistener %u %s\nmax_connections %u\n", (unsigned)c->port, k->address,
                  (unsigned)k->max_connections);
    if (several) {
        put_rules(out, c->acl, c);
    }
    (void)fprintf(out, "cafile %s\ncertfile %s\nkeyfile %s\ncrlfile %s\n", k->anchor_file, k->cert_file,
                  k->key_file, c->crl);
    (void)fputs("require_certificate true\nuse_identity_as_username true\nuse_username_as_clientid true\n"
                "tls_version tlsv1.2\nciphers ECDHE+AESGCM:ECDHE+CHACHA20\n",
                out);
    if (c->password_port != 0) {
        put_password_listener(out, c, true);
    }
    if (c->plain_port != 0) {
        put_password_listener(out, c, false);
    }
}

enum pag_err pag_broker_conf_text(const struct pag_broker_conf *c, struct pag_buf *out)
{
    const char *const paths[] = { c->config->dir,
                                  c->config->anchor_file,
                                  c->config->cert_file,
                                  c->config->key_file,
                                  c->acl,
                                  c->crl,
                                  c->kick_dir,
                                  c->users_acl,
                                  c->passwords,
                                  c->plugin };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (paths[i] != NULL && strpbrk(paths[i], "\r\n") != NULL) {
            return PAG_E_CONFIG;
        }
    }
    char *text = NULL;
    size_t n = 0;
    FILE *stream = open_memstream(&text, &n);
    if (stream == NULL) {
        return PAG_E_NO_MEMORY;
    }
    put_conf(stream, c);
    return finish(stream, &text, &n, out);
}
