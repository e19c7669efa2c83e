#ifndef PAG_RELAY_NET_H
#define PAG_RELAY_NET_H

#include <stdatomic.h>
#include <sys/socket.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Sockets to small devices, with the patience that they need: every wait has an end, and a flag of the caller
 * ends all of them at once. Blocking, one thread a session.
 */

struct pag_wait {
    uint64_t end_ms;         /* monotonic, as pag_net_now_ms */
    const atomic_bool *stop; /* NULL: none. True: give up, PAG_E_CONDITION */
};

uint64_t pag_net_now_ms(void);
struct pag_wait pag_wait_for(uint32_t ms, const atomic_bool *stop);
/* Sleeps that long. False: stop was set. */
bool pag_wait_pause(uint32_t ms, const atomic_bool *stop);

struct pag_net_address {
    struct sockaddr_storage at;
    socklen_t n;
    char text[64]; /* numeric, without the port */
};

/* Name or number to an address with that port (0 is fine). PAG_E_NOT_FOUND. */
enum pag_err pag_net_resolve(const char *host, uint16_t port, struct pag_net_address *out);

/* *fd is the caller's: non-blocking, TCP_NODELAY. PAG_E_TIMEOUT, PAG_E_CLOSED (refused), PAG_E_CONDITION,
 * PAG_E_IO. */
enum pag_err pag_net_connect(const struct pag_net_address *to, struct pag_wait wait, int *fd);
/* TCP listener on every address of the family, port 0: any. */
enum pag_err pag_net_listen(int family, uint16_t port, int *fd, uint16_t *bound);
/* A connection from that very address; others are turned away. PAG_E_TIMEOUT, PAG_E_CONDITION. */
enum pag_err pag_net_accept(int listener, const struct pag_net_address *from, struct pag_wait wait, int *fd);
/* UDP, connected, so that only the device's datagrams come. */
enum pag_err pag_net_udp(const struct pag_net_address *to, int *fd);

/* All of it. PAG_E_CLOSED, PAG_E_TIMEOUT, PAG_E_CONDITION, PAG_E_IO. */
enum pag_err pag_net_send(int fd, struct pag_span data, struct pag_wait wait);
/* What is there, at least a byte, at most cap; *n. Errors as above; PAG_E_CLOSED at the end. */
enum pag_err pag_net_recv(int fd, void *out, size_t cap, struct pag_wait wait, size_t *n);
/* Exactly n bytes. */
enum pag_err pag_net_recv_all(int fd, void *out, size_t n, struct pag_wait wait);
/* Until fd is readable. also: a second one, -1 for none; *which says the one (0 or 1). */
enum pag_err pag_net_readable(int fd, int also, struct pag_wait wait, int *which);

#endif
