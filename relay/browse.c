#define _DEFAULT_SOURCE    /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): getifaddrs,  \
                              mreq */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/rand.h"
#include "relay/mdns.h"
#include "relay/net.h"

enum { PORT = 5353, ROUNDS = 3, QUESTIONS = 1400, PACKETS_MAX = 4096 };

static const char group[] = "224.0.0.251";

static enum pag_err target_of(const char *to, struct sockaddr_in *out)
{
    struct pag_span s = pag_span_str(to);
    size_t colon = pag_span_find(s, 0, ':');
    char number[16];
    uint32_t port = PORT;
    memset(out, 0, sizeof *out);
    out->sin_family = AF_INET;
    if (pag_text_copy(number, sizeof number, (struct pag_span){ s.p, colon }) != PAG_OK ||
        inet_pton(AF_INET, number, &out->sin_addr) != 1) {
        return PAG_E_SYNTAX;
    }
    if (colon < s.n &&
        (pag_parse_u32((struct pag_span){ s.p + colon + 1, s.n - colon - 1 }, &port) != PAG_OK ||
         port > 65535)) {
        return PAG_E_SYNTAX;
    }
    out->sin_port = htons((uint16_t)port);
    return PAG_OK;
}

static void send_one(int fd, const struct sockaddr_in *to, struct pag_span packet)
{
    /* What cannot be sent on one interface may go on another. */
    (void)sendto(fd, packet.p, packet.n, MSG_NOSIGNAL, (const struct sockaddr *)to, sizeof *to);
}

/* The group on every interface that can. */
static void send_group(int fd, const struct sockaddr_in *to, struct pag_span packet)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0) {
        send_one(fd, to, packet);
        return;
    }
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
        struct sockaddr_in own;
        bool usable = i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET &&
                      (i->ifa_flags & IFF_UP) != 0 && (i->ifa_flags & IFF_MULTICAST) != 0;
        if (usable) {
            memcpy(&own, i->ifa_addr, sizeof own);
            (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &own.sin_addr, sizeof own.sin_addr);
            send_one(fd, to, packet);
        }
    }
    freeifaddrs(list);
}

static int open_socket(void)
{
    unsigned char ttl = 255; /* RFC 6762 11 */
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in any = { .sin_family = AF_INET };
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl);
        if (bind(fd, (const struct sockaddr *)&any, sizeof any) != 0) {
            (void)close(fd);
            return -1;
        }
    }
    return fd;
}

static void ask(int fd, const struct pag_mdns_query *q, const struct sockaddr_in *to,
                const struct pag_mdns_list *list)
{
    uint8_t room[QUESTIONS];
    struct pag_buf b = { room, 0, sizeof room };
    uint16_t id = (uint16_t)pag_rand_u32();
    enum pag_err err =
        q->only_host != NULL ? pag_mdns_ask_host(q->only_host, id, &b) : pag_mdns_ask(list, id, &b);
    if (err != PAG_OK) {
        return;
    }
    if (q->to == NULL) {
        send_group(fd, to, pag_buf_span(&b));
    } else {
        send_one(fd, to, pag_buf_span(&b));
    }
}

static bool is_known(const struct pag_mdns_query *q, struct pag_mdns_list *list)
{
    if (q->only_host != NULL) {
        return pag_mdns_host(list, q->only_host) != NULL;
    }
    if (q->until_host == NULL) {
        return false;
    }
    pag_mdns_list_make(list);
    for (size_t i = 0; i < list->n; i++) {
        if (list->item[i].protocol != PAG_PUSH_WEB && pag_mdns_is(&list->item[i], q->until_host)) {
            return true;
        }
    }
    return false;
}

static enum pag_err listen_for(int fd, const struct pag_mdns_query *q, uint32_t ms,
                               struct pag_mdns_list *list)
{
    static _Thread_local uint8_t packet[PAG_MDNS_PACKET];
    struct pag_wait wait = pag_wait_for(ms, q->stop);
    for (unsigned packets = 0; packets < PACKETS_MAX; packets++) {
        struct sockaddr_in from;
        socklen_t from_n = sizeof from;
        char text[PAG_MDNS_ADDRESS];
        enum pag_err err = pag_net_readable(fd, -1, wait, NULL);
        if (err != PAG_OK) {
            return err;
        }
        ssize_t n = recvfrom(fd, packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)&from, &from_n);
        if (n > 0 && inet_ntop(AF_INET, &from.sin_addr, text, sizeof text) != NULL) {
            (void)pag_mdns_read(list, pag_span_of(packet, (size_t)n), text);
        }
        if (n > 0 && is_known(q, list)) {
            return PAG_OK;
        }
    }
    return PAG_E_TIMEOUT;
}

enum pag_err pag_mdns_browse(const struct pag_mdns_query *q, uint32_t ms, struct pag_mdns_list *list)
{
    struct sockaddr_in to;
    if (q->to != NULL && strcmp(q->to, "none") == 0) {
        return PAG_OK;
    }
    enum pag_err err = target_of(q->to != NULL ? q->to : group, &to);
    int fd = err == PAG_OK ? open_socket() : -1;
    if (fd < 0) {
        return err != PAG_OK ? err : PAG_E_IO;
    }
    err = PAG_E_TIMEOUT;
    for (unsigned round = 0; err == PAG_E_TIMEOUT && round < ROUNDS; round++) {
        ask(fd, q, &to, list);
        err = listen_for(fd, q, ms / ROUNDS, list);
    }
    (void)close(fd);
    pag_mdns_list_make(list);
    return err == PAG_E_TIMEOUT ? PAG_OK : err;
}
