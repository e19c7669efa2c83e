#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): SOCK_CLOEXEC */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/fs.h"
#include "server/broker_priv.h"

/* The broker's process and the thread that watches it. */

enum {
    RETRY_FIRST_MS = 250,
    RETRY_MAX_MS = 30000,
    STEADY_MS = 60000, /* after so long a run the back-off starts anew */
    PROBE_MS = 1000,
    STOP_MS = 5000,
    RELOAD_LOST_MS = 500, /* without a line: it was reading when the signal came */
    RELOAD_REST_MS = 100, /* after the line it reads on */
    RELOAD_STEP_MS = 50,
    RELOAD_TRIES = 20,
};

static uint64_t now_ms(const struct pag_broker *b)
{
    return b->config.clock.now_ms(b->config.clock.ctx);
}

void pag_broker_tell(struct pag_broker *b)
{
    struct pag_broker_reload *r = &b->reload;
    uint64_t now = now_ms(b);
    bool lost = r->asked && now - r->sent_ms >= RELOAD_LOST_MS;
    bool due = !r->asked && r->pending && now >= r->rest_ms;
    if (b->status.state != PAG_BROKER_RUNNING || !(lost || due)) {
        return;
    }
    r->tries = lost ? r->tries + 1 : 0;
    if (r->tries == RELOAD_TRIES) {
        pag_log_error(b->config.log, "broker.reload_not_seen", PAG_F_U64("tries", r->tries));
        memset(r, 0, sizeof *r);
        return;
    }
    r->pending = lost; /* the next line may be of the first of two signals: once more then */
    r->asked = true;
    r->sent_ms = now;
    pag_child_signal(&b->child, SIGHUP);
}

/* On the thread. */
static void reload_seen(struct pag_broker *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->reload.asked = false;
    b->reload.rest_ms = now_ms(b) + RELOAD_REST_MS;
    (void)pthread_mutex_unlock(&b->lock);
}

/* How long the thread may sleep. */
static int reload_step(struct pag_broker *b)
{
    (void)pthread_mutex_lock(&b->lock);
    pag_broker_tell(b);
    bool busy = b->reload.asked || b->reload.pending || now_ms(b) < b->reload.rest_ms;
    (void)pthread_mutex_unlock(&b->lock);
    return busy ? RELOAD_STEP_MS : PROBE_MS;
}

/* On the thread. */
static void set_state(struct pag_broker *b, enum pag_broker_state state, const char *error)
{
    struct pag_broker_status now;
    (void)pthread_mutex_lock(&b->lock);
    b->status.state = state;
    b->status.pid = b->child.pid;
    b->status.retry_ms = state == PAG_BROKER_WAITING ? b->backoff_ms : 0;
    if (error != NULL) {
        (void)snprintf(b->status.last_error, sizeof b->status.last_error, "%s", error);
    }
    now = b->status;
    (void)pthread_cond_broadcast(&b->changed);
    (void)pthread_mutex_unlock(&b->lock);
    if (state == PAG_BROKER_WAITING) {
        pag_log_error(b->config.log, "broker.ended", PAG_F_STR("why", now.last_error),
                      PAG_F_U64("retry_ms", now.retry_ms), PAG_F_U64("restarts", now.restarts));
    } else {
        pag_log_info(b->config.log, "broker.state", PAG_F_STR("state", pag_broker_state_word(state)),
                     PAG_F_I64("pid", now.pid), PAG_F_U64("port", now.port));
    }
    if (b->config.on_state != NULL) {
        b->config.on_state(b->config.ctx, &now);
    }
}

static enum pag_err write_conf(struct pag_broker *b)
{
    struct pag_buf text = { NULL, 0, 0 };
    const struct pag_broker_conf conf = { .config = &b->config,
                                          .port = b->port,
                                          .password_port = b->password_port,
                                          .plain_port = b->plain_port,
                                          .acl = b->acl,
                                          .crl = b->crl.path,
                                          .kick_dir = b->kick,
                                          .users_acl = b->users_acl,
                                          .passwords = b->passwords,
                                          .plugin = b->plugin[0] == '\0' ? NULL : b->plugin };
    enum pag_err err = pag_broker_conf_text(&conf, &text);
    if (err == PAG_OK) {
        err = pag_fs_write(b->conf, (struct pag_span){ text.p, text.n }, 0600, NULL);
    }
    free(text.p);
    return err;
}

/* ---- the process ---- */

/* A free port of the kernel's choice. It is given back before mosquitto binds it; if another process is
 * faster, the start fails and the next one asks again. */
static uint16_t pick_port(const char *address)
{
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
    struct sockaddr_in a4 = { .sin_family = AF_INET };
    bool six = inet_pton(AF_INET6, address, &a6.sin6_addr) == 1;
    if (!six && inet_pton(AF_INET, address, &a4.sin_addr) != 1) {
        return 0;
    }
    struct sockaddr *sa = six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
    socklen_t n = six ? sizeof a6 : sizeof a4;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fine = fd >= 0 && bind(fd, sa, n) == 0 && getsockname(fd, sa, &n) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!fine) {
        return 0;
    }
    return ntohs(six ? a6.sin6_port : a4.sin_port);
}

/* A port once used is kept, so that clients find it again. */
static void pick_ports(struct pag_broker *b)
{
    bool taken = strstr(b->last_line, "in use") != NULL;
    if (b->config.port == 0 && (b->port == 0 || taken)) {
        b->port = pick_port(b->address);
    }
    if (b->config.password && b->config.password_port == 0 && (b->password_port == 0 || taken)) {
        b->password_port = pick_port(b->address);
    }
    if (b->config.plain && b->config.plain_port == 0 && (b->plain_port == 0 || taken)) {
        b->plain_port = pick_port(b->plain_address);
    }
}

static enum pag_err launch(struct pag_broker *b, struct pag_fail *why)
{
    const char *const argv[] = { b->mosquitto, "-c", b->conf, NULL };
    const struct pag_child_config child = { .argv = argv, .pipe = true, .death_signal = SIGTERM };
    struct pag_child started;
    pick_ports(b);
    (void)pthread_mutex_lock(&b->lock);
    memset(&b->reload, 0,
           sizeof b->reload); /* it reads what is there now; what is written from here on sets it again */
    (void)pthread_mutex_unlock(&b->lock);
    enum pag_err err = write_conf(b);
    if (err == PAG_OK) {
        err = pag_child_start(&child, &started, why);
    }
    if (err != PAG_OK) {
        return err;
    }
    (void)pthread_mutex_lock(&b->lock);
    b->child = started;
    b->status.port = b->port;
    b->status.password_port = b->password_port;
    b->status.plain_port = b->plain_port;
    b->status.started_unix_ms = b->config.clock.now_unix_ms(b->config.clock.ctx);
    (void)pthread_mutex_unlock(&b->lock);
    b->started_ms = now_ms(b);
    b->line_n = 0;
    b->last_line[0] = '\0';
    return PAG_OK;
}

static void came_up(struct pag_broker *b)
{
    (void)pthread_mutex_lock(&b->lock);
    bool first = b->status.state == PAG_BROKER_STARTING;
    if (first) {
        b->status.state = PAG_BROKER_RUNNING;
        pag_broker_tell(b);
    }
    (void)pthread_mutex_unlock(&b->lock);
    if (first) {
        set_state(b, PAG_BROKER_RUNNING, NULL);
    }
}

/* A line of mosquitto's log: "1795262391: text". */
static void take_line(struct pag_broker *b)
{
    b->line[b->line_n] = '\0';
    b->line_n = 0;
    const char *text = strstr(b->line, ": ");
    text = text == NULL ? b->line : text + 2;
    if (strstr(text, "mosquitto version ") == text && strstr(text, " running") != NULL) {
        came_up(b);
    }
    if (strcmp(text, "Reloading config.") == 0) {
        reload_seen(b);
    }
    bool error = strncmp(text, "Error", 5) == 0;
    if (error || strncmp(b->last_line, "Error", 5) != 0) { /* the error says more than what follows it */
        (void)snprintf(b->last_line, sizeof b->last_line, "%.150s", text);
    }
    if (error) {
        pag_log_warn(b->config.log, "broker.says", PAG_F_STR("text", text));
    } else {
        pag_log_debug(b->config.log, "broker.says", PAG_F_STR("text", text));
    }
}

/* False at the end of the pipe. */
static bool read_log(struct pag_broker *b)
{
    char chunk[4096];
    ssize_t got = read(b->child.out_fd, chunk, sizeof chunk);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (chunk[i] == '\n') {
            take_line(b);
        } else if (b->line_n < sizeof b->line - 1) {
            b->line[b->line_n++] = chunk[i];
        }
    }
    return got > 0;
}

static void sleep_until_woken(struct pag_broker *b, uint32_t ms)
{
    struct pollfd p = { .fd = b->wake, .events = POLLIN };
    (void)poll(&p, 1, (int)ms);
}

/* Reaps under the lock, so that nobody signals a pid that is no longer ours. */
static bool has_ended(struct pag_broker *b)
{
    (void)pthread_mutex_lock(&b->lock);
    bool ended = pag_child_poll(&b->child);
    (void)pthread_mutex_unlock(&b->lock);
    return ended;
}

static void renew_crl_when_due(struct pag_broker *b)
{
    (void)pthread_mutex_lock(&b->files);
    if (b->config.clock.now_unix_ms(b->config.clock.ctx) / 1000 >= b->crl.due_s) {
        (void)pag_broker_write_lists(b);
    }
    (void)pthread_mutex_unlock(&b->files);
}

/* Until the process has ended or the broker is to stop. */
static void watch(struct pag_broker *b)
{
    bool open = true;
    while (!atomic_load(&b->stop)) {
        struct pollfd p[2] = { { .fd = b->wake, .events = POLLIN },
                               { .fd = b->child.out_fd, .events = POLLIN } };
        int most = reload_step(b);
        (void)poll(p, open ? 2 : 1, open ? most : 20);
        if (open && p[1].revents != 0) {
            open = read_log(b);
        }
        if (has_ended(b)) {
            break;
        }
        renew_crl_when_due(b);
    }
    for (int i = 0; i < 64 && open;
         i++) { /* its last words; bounded, because a grandchild could hold the pipe */
        open = read_log(b);
    }
}

static void describe_end(const struct pag_broker *b, char out[160])
{
    int status = b->child.status;
    if (WIFSIGNALED(status)) {
        (void)snprintf(out, 160, "killed by signal %d", WTERMSIG(status));
    } else {
        (void)snprintf(out, 160, "exit %d: %.120s", WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                       b->last_line);
    }
}

static void stop_child(struct pag_broker *b)
{
    /* not under the lock: it may take seconds; the state says that nobody shall signal it */
    set_state(b, PAG_BROKER_STOPPED, NULL);
    struct pag_child child = b->child;
    (void)pthread_mutex_lock(&b->lock);
    b->child.pid = 0;
    b->child.out_fd = -1;
    b->status.pid = 0;
    (void)pthread_mutex_unlock(&b->lock);
    pag_child_stop(&child, STOP_MS);
}

/* One life of the process; false: it could not even be started. */
static void one_life(struct pag_broker *b, char error[160])
{
    struct pag_fail why = { PAG_OK, "", 0 };
    enum pag_err err = launch(b, &why);
    if (err != PAG_OK) {
        (void)snprintf(error, 160, "%s: %.100s (errno %d)",
                       why.what[0] == '\0' ? pag_err_word(err) : why.what, b->mosquitto, (int)why.detail);
        return;
    }
    set_state(b, PAG_BROKER_STARTING, NULL);
    watch(b);
    if (b->child.pid != 0) {
        return; /* told to stop */
    }
    describe_end(b, error);
    if (b->child.out_fd >= 0) {
        (void)close(b->child.out_fd);
        b->child.out_fd = -1;
    }
    if (now_ms(b) - b->started_ms > STEADY_MS) {
        b->backoff_ms = 0;
    }
}

void *pag_broker_run(void *broker)
{
    struct pag_broker *b = broker;
    while (!atomic_load(&b->stop)) {
        char error[160] = "";
        one_life(b, error);
        if (atomic_load(&b->stop)) {
            break;
        }
        b->backoff_ms = b->backoff_ms == 0 ? RETRY_FIRST_MS : b->backoff_ms * 2;
        b->backoff_ms = b->backoff_ms > RETRY_MAX_MS ? RETRY_MAX_MS : b->backoff_ms;
        (void)pthread_mutex_lock(&b->lock);
        b->status.restarts++;
        (void)pthread_mutex_unlock(&b->lock);
        set_state(b, PAG_BROKER_WAITING, error);
        sleep_until_woken(b, b->backoff_ms);
        renew_crl_when_due(b);
    }
    stop_child(b);
    return NULL;
}
