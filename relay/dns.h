#ifndef PAG_RELAY_DNS_H
#define PAG_RELAY_DNS_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* Messages of the DNS as multicast DNS has them (RFC 1035 4, 6762 18): what is read came from anybody. */

enum {
    PAG_DNS_A = 1,
    PAG_DNS_PTR = 12,
    PAG_DNS_TXT = 16,
    PAG_DNS_SRV = 33,
    PAG_DNS_ANY = 255,
    PAG_DNS_IN = 1,          /* class */
    PAG_DNS_ANSWER = 0x8000, /* flag in the head */
    PAG_DNS_HEADER = 12,     /* bytes of the head */
    PAG_DNS_NAME_MAX = 255,
};

struct pag_dns_name {
    char text[PAG_DNS_NAME_MAX + 1]; /* labels with dots; what is not printable is '?' */
    size_t n;
    size_t first; /* bytes of the first label */
};

struct pag_dns_record {
    struct pag_dns_name name;
    uint16_t type, class;
    uint32_t ttl;
    size_t at; /* of the data in the packet */
    struct pag_span data;
};

/*
 * A name at *at of packet p, which is moved behind it; pointers lead only backwards, so that every name ends.
 * PAG_E_SHORT, PAG_E_SYNTAX.
 */
enum pag_err pag_dns_name_read(struct pag_span p, size_t *at, struct pag_dns_name *out);
/* A record at *at of packet p, which is moved behind it. PAG_E_SHORT, PAG_E_SYNTAX. */
enum pag_err pag_dns_record_read(struct pag_span p, size_t *at, struct pag_dns_record *out);
/* The name that begins skip bytes into the data of r, a record of p. PAG_E_SHORT, PAG_E_SYNTAX. */
enum pag_err pag_dns_name_in(struct pag_span p, const struct pag_dns_record *r, size_t skip,
                             struct pag_dns_name *out);

/* Begins a packet of questions; how many follow is for the caller to write into byte 5. PAG_E_SPACE. */
enum pag_err pag_dns_head(struct pag_buf *b, uint16_t id);
/* One question. instance: NULL, or a first label that may hold dots. rest: dotted. Cut whole on PAG_E_SPACE,
 * PAG_E_SYNTAX (a label that is empty or too long). */
enum pag_err pag_dns_question(struct pag_buf *b, const char *instance, const char *rest, uint16_t type);

#endif
