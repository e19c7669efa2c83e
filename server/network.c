#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): pthread_setname_np */
#include "server/network.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct net_thread {
    struct pag_network *network;
    struct pag_loop *loop;
    void *ctx; /* what requests see */
    struct pag_http_listener *listener[PAG_NETWORK_LISTENERS_MAX];
    pthread_t id;
    bool running;
    struct pag_task stop_task;
    struct pag_timer stop_timer;
    uint32_t waited_ms; /* since stop */
};

enum { STOP_LOOK_MS = 50 };

struct pag_network {
    uint32_t thread_n;
    size_t listener_n;
    uint32_t finish_ms;
    struct pag_log *log;
    struct pag_http *http[PAG_NETWORK_LISTENERS_MAX];
    uint16_t port[PAG_NETWORK_LISTENERS_MAX];
    struct net_thread thread[];
};

/*
 * SO_REUSEPORT lets a second server of the same user share a port without a word, so one socket without it is
 * tried first.
 */
enum pag_err pag_network_port_free(const char *name, const char *address, uint16_t port, char text[200])
{
    char service[8];
    struct addrinfo *found = NULL;
    const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
    (void)snprintf(service, sizeof service, "%u", port);
    int rc = getaddrinfo(address[0] != '\0' ? address : NULL, service, &hints, &found);
    if (rc != 0) {
        (void)snprintf(text, 200, "%s: address %s: %s", name, address, gai_strerror(rc));
        return PAG_E_CONFIG;
    }
    enum pag_err err = PAG_OK;
    int one = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1) != 0) {
            err = errno == EADDRINUSE ? PAG_E_EXISTS : PAG_E_IO;
            (void)snprintf(text, 200, "%s: port %u of %s %s", name, port, address,
                           errno == EADDRINUSE ? "is taken by another program"
                           : errno == EACCES   ? "needs more rights (below 1024)"
                                               : "cannot be bound");
        }
        close(fd);
    }
    freeaddrinfo(found);
    return err;
}

static enum pag_err attach(struct pag_network *n, const struct pag_network_config *config, size_t index,
                           char text[200])
{
    const struct pag_network_listener *l = &config->listener[index];
    struct pag_fail why = { .code = PAG_OK };
    enum pag_err err = pag_network_port_free(l->name, l->address, l->port, text);
    n->port[index] = l->port;
    n->http[index] = l->http;
    for (uint32_t i = 0; err == PAG_OK && i < n->thread_n; i++) {
        struct net_thread *t = &n->thread[i];
        err =
            pag_http_attach(l->http, t->loop, l->address, n->port[index], t->ctx, &t->listener[index], &why);
        if (err != PAG_OK) {
            (void)snprintf(text, 200, "%s: port %u of %s: %s", l->name, l->port, l->address,
                           why.what != NULL ? why.what : pag_err_word(err));
            return err;
        }
        n->port[index] = pag_http_port(t->listener[index]);
    }
    return err;
}

enum pag_err pag_network_new(const struct pag_network_config *config, struct pag_network **out,
                             char text[200])
{
    struct pag_network *n = calloc(1, sizeof *n + config->threads * sizeof n->thread[0]);
    enum pag_err err = PAG_OK;
    text[0] = '\0';
    if (n == NULL) {
        return PAG_E_NO_MEMORY;
    }
    n->thread_n = config->threads;
    n->listener_n = config->listener_n;
    n->log = config->log;
    for (uint32_t i = 0; i < n->thread_n; i++) {
        n->thread[i].network = n;
        n->thread[i].loop = pag_loop_new(config->clock);
        if (n->thread[i].loop == NULL) {
            err = PAG_E_NO_MEMORY;
        }
        if (err == PAG_OK) {
            err = config->thread_up(config->thread_up_ctx, i, n->thread[i].loop, &n->thread[i].ctx);
        }
    }
    for (size_t i = 0; err == PAG_OK && i < n->listener_n; i++) {
        err = attach(n, config, i, text);
    }
    if (err != PAG_OK) {
        pag_network_free(n);
        return err;
    }
    *out = n;
    return PAG_OK;
}

static void *thread_main(void *arg)
{
    struct net_thread *t = arg;
    enum pag_err err = pag_loop_run(t->loop);
    if (err != PAG_OK) {
        pag_log_error(t->network->log, "network.loop_failed", PAG_F_STR("error", pag_err_word(err)));
    }
    return NULL;
}

enum pag_err pag_network_run(struct pag_network *network)
{
    for (uint32_t i = 0; i < network->thread_n; i++) {
        struct net_thread *t = &network->thread[i];
        char name[16];
        if (pthread_create(&t->id, NULL, thread_main, t) != 0) {
            return PAG_E_NO_MEMORY;
        }
        t->running = true;
        (void)snprintf(name, sizeof name, "net-%u", i);
        (void)pthread_setname_np(t->id, name);
    }
    return PAG_OK;
}

static uint64_t connections(const struct pag_network *n)
{
    uint64_t open = 0;
    for (size_t i = 0; i < n->listener_n; i++) {
        open += pag_http_stats_get(n->http[i]).open;
    }
    return open;
}

static void on_stop_timer(struct pag_loop *loop, struct pag_timer *timer)
{
    struct net_thread *t =
        (struct net_thread *)(void *)((char *)timer - offsetof(struct net_thread, stop_timer));
    t->waited_ms += STOP_LOOK_MS;
    if (connections(t->network) == 0 || t->waited_ms > t->network->finish_ms + STOP_LOOK_MS) {
        pag_loop_stop(loop);
        return;
    }
    pag_loop_timer(loop, timer, STOP_LOOK_MS);
}

static void on_stop(struct pag_loop *loop, struct pag_task *task)
{
    struct net_thread *t =
        (struct net_thread *)(void *)((char *)task - offsetof(struct net_thread, stop_task));
    for (size_t i = 0; i < t->network->listener_n; i++) {
        pag_http_detach(t->listener[i], t->network->finish_ms);
    }
    t->stop_timer.on_fire = on_stop_timer;
    pag_loop_timer(loop, &t->stop_timer, 1);
}

void pag_network_stop(struct pag_network *network, uint32_t finish_ms)
{
    if (network == NULL) {
        return;
    }
    network->finish_ms = finish_ms;
    for (uint32_t i = 0; i < network->thread_n; i++) {
        if (network->thread[i].running) {
            network->thread[i].stop_task.run = on_stop;
            pag_loop_post(network->thread[i].loop, &network->thread[i].stop_task);
        }
    }
    for (uint32_t i = 0; i < network->thread_n; i++) {
        if (network->thread[i].running) {
            (void)pthread_join(network->thread[i].id, NULL);
            network->thread[i].running = false;
        }
    }
}

void pag_network_free(struct pag_network *network)
{
    if (network == NULL) {
        return;
    }
    for (uint32_t i = 0; i < network->thread_n; i++) {
        pag_loop_free(network->thread[i].loop);
    }
    free(network);
}

uint16_t pag_network_port(const struct pag_network *network, size_t listener)
{
    return network->port[listener];
}

uint32_t pag_network_threads(const struct pag_network *network)
{
    return network->thread_n;
}

struct pag_loop *pag_network_loop(const struct pag_network *network, uint32_t thread)
{
    return network->thread[thread].loop;
}
