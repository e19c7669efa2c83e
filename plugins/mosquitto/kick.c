#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): AT_*, dirfd */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * Cuts live sessions. mosquitto reads its revocation list for new connections only; pagurusd leaves an empty
 * file named like the client in the folder of plugin_opt_kick_dir, and this plugin disconnects that client. A
 * name stays in force for HOLD_MS, because the broker may read the new lists a moment after the file
 * appeared; then the file is removed.
 */
enum { EVERY_MS = 250, HOLD_MS = 3000, NAME_MAX_CHARS = 64, NAMES_A_TICK = 4096 };

struct kicker {
    mosquitto_plugin_id_t *id;
    int dir; /* the folder */
    uint64_t last_ms;
};

static uint64_t now_ms(clockid_t clock)
{
    struct timespec t = { 0, 0 };
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool name_ok(const char *name)
{
    size_t n = strnlen(name, NAME_MAX_CHARS + 1);
    return n > 0 && n <= NAME_MAX_CHARS && name[0] != '.' && /* "." and ".." are folders */
           strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz-.") == n;
}

static void kick_one(const struct kicker *k, const char *name)
{
    struct stat st;
    (void)mosquitto_kick_client_by_username(name, false); /* no will: it would be denied anyhow */
    if (fstatat(k->dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return;
    }
    uint64_t made_ms = (uint64_t)st.st_mtim.tv_sec * 1000 + (uint64_t)st.st_mtim.tv_nsec / 1000000;
    uint64_t wall_ms = now_ms(CLOCK_REALTIME);
    if (wall_ms > made_ms + HOLD_MS || made_ms > wall_ms + HOLD_MS) { /* the second: the clock was set back */
        (void)unlinkat(k->dir, name, 0);
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "pagurus: %s was disconnected", name);
    }
}

static void kick_listed(const struct kicker *k)
{
    int fd = openat(k->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (list == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    const struct dirent *entry = readdir(list);
    for (int n = 0; entry != NULL && n < NAMES_A_TICK; n++) {
        if (name_ok(entry->d_name)) {
            kick_one(k, entry->d_name);
        }
        entry = readdir(list);
    }
    (void)closedir(list);
}

/* Every turn of the broker's loop, at least about ten times a second. */
static int on_tick(int event, void *event_data, void *userdata)
{
    struct kicker *k = userdata;
    uint64_t now = now_ms(CLOCK_MONOTONIC);
    (void)event;
    (void)event_data;
    if (now - k->last_ms >= EVERY_MS) {
        k->last_ms = now;
        kick_listed(k);
    }
    return MOSQ_ERR_SUCCESS;
}

/* ---- what mosquitto calls; the names are its own (NOLINTBEGIN(readability-identifier-naming)) ---- */

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++) {
        if (supported_versions[i] == 5) {
            return 5;
        }
    }
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options,
                          int option_count)
{
    const char *dir = NULL;
    for (int i = 0; i < option_count; i++) {
        if (strcmp(options[i].key, "kick_dir") == 0) {
            dir = options[i].value;
        }
    }
    if (dir == NULL) {
        mosquitto_log_printf(MOSQ_LOG_ERR, "pagurus: plugin_opt_kick_dir is missing");
        return MOSQ_ERR_INVAL;
    }
    struct kicker *k = calloc(1, sizeof *k);
    if (k == NULL) {
        return MOSQ_ERR_NOMEM;
    }
    k->id = identifier;
    k->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (k->dir < 0) {
        mosquitto_log_printf(MOSQ_LOG_ERR, "pagurus: cannot open %s (errno %d)", dir, errno);
        free(k);
        return MOSQ_ERR_INVAL;
    }
    *userdata = k;
    return mosquitto_callback_register(identifier, MOSQ_EVT_TICK, on_tick, NULL, k);
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count)
{
    struct kicker *k = userdata;
    (void)options;
    (void)option_count;
    if (k != NULL) {
        (void)mosquitto_callback_unregister(k->id, MOSQ_EVT_TICK, on_tick, NULL);
        (void)close(k->dir);
        free(k);
    }
    return MOSQ_ERR_SUCCESS;
}
/* NOLINTEND(readability-identifier-naming) */
