#ifndef PAG_SERVER_NETWORK_H
#define PAG_SERVER_NETWORK_H

#include <pagurus/errors.h>

#include "host/http.h"
#include "host/log.h"
#include "host/loop.h"

/*
 * The identical network threads: each has its own loop and serves every listener (SO_REUSEPORT). Placed in
 * memory by pag_network_new, owned by the caller.
 */
struct pag_network;

enum { PAG_NETWORK_THREADS_MAX = 64, PAG_NETWORK_LISTENERS_MAX = 4 };

struct pag_network_listener {
    const char *name; /* "console", for messages */
    struct pag_http *http;
    const char *address;
    uint16_t port; /* 0: the kernel picks; see pag_network_port */
};

struct pag_network_config {
    uint32_t threads; /* 1 .. PAG_NETWORK_THREADS_MAX */
    const struct pag_network_listener *listener;
    size_t listener_n;
    /* Called once a thread, here and now, before its listeners are bound: *thread_ctx is what requests see.
     */
    enum pag_err (*thread_up)(void *ctx, uint32_t index, struct pag_loop *loop, void **thread_ctx);
    void *thread_up_ctx;
    struct pag_clock clock;
    struct pag_log *log;
};

/*
 * Whether a port could be bound by a program that shares it with nobody. name is for the message, address a
 * numeric one. PAG_E_EXISTS (taken), PAG_E_IO, PAG_E_CONFIG (no address); text[200] then says which and why.
 */
enum pag_err pag_network_port_free(const char *name, const char *address, uint16_t port, char text[200]);

/*
 * Binds everything; no thread runs yet, so nothing is answered. The loops are usable: pag_network_loop. On
 * PAG_E_EXISTS (port taken) and PAG_E_IO text[200] names the listener and why.
 */
enum pag_err pag_network_new(const struct pag_network_config *config, struct pag_network **out,
                             char text[200]);
enum pag_err pag_network_run(struct pag_network *network); /* starts the threads */
/* Stops accepting, lets requests finish for at most finish_ms, joins the threads. */
void pag_network_stop(struct pag_network *network, uint32_t finish_ms);
void pag_network_free(struct pag_network *network); /* after stop; NULL is fine */

uint16_t pag_network_port(const struct pag_network *network, size_t listener);
uint32_t pag_network_threads(const struct pag_network *network);
struct pag_loop *pag_network_loop(const struct pag_network *network, uint32_t thread);

#endif
