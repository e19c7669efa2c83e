#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "host/http_priv.h"

enum { BUCKETS = 4096 };

struct node {
    struct node *next;
    uint8_t key[16];
    uint32_t n;
};

struct pag_http_addresses {
    uint64_t seed[2];
    struct node *bucket[BUCKETS];
};

struct pag_http_addresses *pag_http_addresses_new(void)
{
    struct pag_http_addresses *a = calloc(1, sizeof(*a));
    if (a != NULL && RAND_bytes((uint8_t *)a->seed, sizeof(a->seed)) != 1) {
        free(a);
        return NULL;
    }
    return a;
}

void pag_http_addresses_free(struct pag_http_addresses *a)
{
    if (a == NULL) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        while (a->bucket[i] != NULL) {
            struct node *node = a->bucket[i];
            a->bucket[i] = node->next;
            free(node);
        }
    }
    free(a);
}

static uint64_t turn(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void sip_rounds(uint64_t v[4], unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = turn(v[1], 13) ^ v[0];
        v[3] = turn(v[3], 16) ^ v[2];
        v[0] = turn(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = turn(v[1], 17) ^ v[2];
        v[3] = turn(v[3], 21) ^ v[0];
        v[2] = turn(v[2], 32);
    }
}

/* SipHash-2-4 of 16 bytes: whoever chooses addresses must not be able to choose a bucket. */
static size_t bucket_of(const struct pag_http_addresses *a, const uint8_t key[16])
{
    uint64_t v[4] = { a->seed[0] ^ 0x736f6d6570736575U, a->seed[1] ^ 0x646f72616e646f6dU,
                      a->seed[0] ^ 0x6c7967656e657261U, a->seed[1] ^ 0x7465646279746573U };
    for (size_t i = 0; i < 16; i += 8) {
        uint64_t m;
        memcpy(&m, key + i, sizeof(m));
        v[3] ^= m;
        sip_rounds(v, 2);
        v[0] ^= m;
    }
    uint64_t last = (uint64_t)16 << 56;
    v[3] ^= last;
    sip_rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return (size_t)(v[0] ^ v[1] ^ v[2] ^ v[3]) % BUCKETS;
}

static struct node **find(struct pag_http_addresses *a, const uint8_t key[16])
{
    struct node **at = &a->bucket[bucket_of(a, key)];
    while (*at != NULL && memcmp((*at)->key, key, 16) != 0) {
        at = &(*at)->next;
    }
    return at;
}

bool pag_http_addresses_add(struct pag_http_addresses *a, const uint8_t key[16], uint32_t most)
{
    struct node **at = find(a, key);
    if (*at == NULL) {
        struct node *node = calloc(1, sizeof(*node));
        if (node == NULL) {
            return false;
        }
        memcpy(node->key, key, sizeof(node->key));
        *at = node;
    }
    if ((*at)->n >= most) {
        return false;
    }
    (*at)->n++;
    return true;
}

void pag_http_addresses_remove(struct pag_http_addresses *a, const uint8_t key[16])
{
    struct node **at = find(a, key);
    if (*at != NULL && --(*at)->n == 0) {
        struct node *node = *at;
        *at = node->next;
        free(node);
    }
}
