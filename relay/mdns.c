#include "relay/mdns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "relay/dns.h"

enum {
    HOSTS_MAX = PAG_MDNS_FOUND_MAX,
    SERVICES = 4,
    ASK_MAX = 12, /* missing things a packet asks for */
};

static const struct {
    const char *name;
    enum pag_push_protocol protocol;
} services[SERVICES] = {
    { "_arduino._tcp.local", PAG_PUSH_ESPOTA },
    { "_esphomelib._tcp.local", PAG_PUSH_ESPHOME },
    { "_wled._tcp.local", PAG_PUSH_WLED },
    { "_http._tcp.local", PAG_PUSH_WEB },
};

struct instance {
    bool here;
    bool has_srv;
    bool has_txt;
    struct pag_mdns_found f; /* host is the SRV target */
    char said_version[PAG_VERSION_MAX + 1];
    char project_version[PAG_VERSION_MAX + 1];
    char platform[24];
    char from[PAG_MDNS_ADDRESS];
};

struct host {
    char name[PAG_MDNS_NAME];
    char address[PAG_MDNS_ADDRESS];
};

struct pag_mdns_set {
    struct instance instance[PAG_MDNS_FOUND_MAX];
    size_t instance_n;
    struct host host[HOSTS_MAX];
    size_t host_n;
};

struct pag_mdns_list *pag_mdns_list_new(void)
{
    struct pag_mdns_list *list = calloc(1, sizeof *list);
    if (list == NULL) {
        return NULL;
    }
    list->item = calloc(PAG_MDNS_FOUND_MAX, sizeof *list->item);
    list->set = calloc(1, sizeof *list->set);
    if (list->item == NULL || list->set == NULL) {
        pag_mdns_list_free(list);
        return NULL;
    }
    return list;
}

void pag_mdns_list_free(struct pag_mdns_list *list)
{
    if (list != NULL) {
        free(list->item);
        free(list->set);
        free(list);
    }
}

/* ---- names ---- */

static bool same(const char *a, const char *b)
{
    return pag_span_eq_nocase(pag_span_str(a), b);
}

static void text_of(char *out, size_t cap, struct pag_span s)
{
    size_t n = s.n < cap ? s.n : cap - 1;
    for (size_t i = 0; i < n; i++) {
        out[i] = (char)(s.p[i] >= 0x20 && s.p[i] != 0x7F ? s.p[i] : (uint8_t)'?');
    }
    while (n > 0 && !pag_utf8_ok(pag_span_of(out, n))) {
        n--;
    }
    out[n] = '\0';
}

/* "Kitchen Lamp._wled._tcp.local" -> service and "Kitchen Lamp". */
static int service_of(const struct pag_dns_name *n)
{
    for (int i = 0; i < SERVICES; i++) {
        if (n->first > 0 && n->first < n->n && same(n->text + n->first + 1, services[i].name)) {
            return i;
        }
    }
    return -1;
}

static void host_text(const struct pag_dns_name *n, char out[PAG_MDNS_NAME])
{
    struct pag_span s = pag_span_str(n->text);
    if (s.n > 6 && same(n->text + s.n - 6, ".local")) {
        s.n -= 6;
    }
    text_of(out, PAG_MDNS_NAME, s);
}

/* ---- what is known ---- */

static struct instance *instance_of(struct pag_mdns_set *set, const struct pag_dns_name *n)
{
    char name[PAG_MDNS_NAME];
    int service = service_of(n);
    if (service < 0) {
        return NULL;
    }
    text_of(name, sizeof name, pag_span_of(n->text, n->first));
    for (size_t i = 0; i < set->instance_n; i++) {
        struct instance *one = &set->instance[i];
        if (one->f.protocol == services[service].protocol && same(one->f.name, name)) {
            return one;
        }
    }
    if (set->instance_n == PAG_MDNS_FOUND_MAX) {
        return NULL;
    }
    struct instance *fresh = &set->instance[set->instance_n++];
    fresh->here = true;
    fresh->f.protocol = services[service].protocol;
    memcpy(fresh->f.name, name, sizeof name);
    return fresh;
}

static void host_put(struct pag_mdns_set *set, const char *name, const char *address)
{
    for (size_t i = 0; i < set->host_n; i++) {
        if (same(set->host[i].name, name)) {
            (void)snprintf(set->host[i].address, sizeof set->host[i].address, "%s", address);
            return;
        }
    }
    if (set->host_n < HOSTS_MAX) {
        struct host *h = &set->host[set->host_n++];
        (void)snprintf(h->name, sizeof h->name, "%s", name);
        (void)snprintf(h->address, sizeof h->address, "%s", address);
    }
}

const char *pag_mdns_host(const struct pag_mdns_list *list, const char *host)
{
    struct pag_span s = pag_span_str(host);
    if (s.n > 6 && same(host + s.n - 6, ".local")) {
        s.n -= 6;
    }
    for (size_t i = 0; i < list->set->host_n; i++) {
        if (pag_span_eq_nocase(s, list->set->host[i].name)) {
            return list->set->host[i].address;
        }
    }
    return NULL;
}

/* ---- records ---- */

static void txt_pair(struct instance *one, struct pag_span key, struct pag_span value)
{
    const struct {
        const char *key;
        char *out;
        size_t cap;
    } known[] = {
        { "version", one->said_version, sizeof one->said_version },
        { "ver", one->said_version, sizeof one->said_version },
        { "project_version", one->project_version, sizeof one->project_version },
        { "project_name", one->f.project, sizeof one->f.project },
        { "config_hash", one->f.build, sizeof one->f.build },
        { "platform", one->platform, sizeof one->platform },
    };
    if (pag_span_eq_str(key, "mac")) {
        (void)pag_mac_text(value, one->f.mac);
    } else if (pag_span_eq_str(key, "auth_upload")) {
        one->f.wants_password = pag_span_eq_str(value, "yes");
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (pag_span_eq_str(key, known[i].key)) {
            text_of(known[i].out, known[i].cap, value);
        }
    }
}

static void txt_read(struct instance *one, struct pag_span data)
{
    one->has_txt = true;
    for (size_t at = 0; at < data.n;) {
        struct pag_span pair;
        if (pag_span_sub(data, at + 1, data.p[at], &pair) != PAG_OK) {
            return;
        }
        size_t eq = pag_span_find(pair, 0, '=');
        if (eq < pair.n) {
            txt_pair(one, (struct pag_span){ pair.p, eq },
                     (struct pag_span){ pair.p + eq + 1, pair.n - eq - 1 });
        }
        at += 1 + pair.n;
    }
}

static enum pag_err ptr_take(struct pag_mdns_set *set, struct pag_span p, const struct pag_dns_record *r,
                             const char *from)
{
    struct pag_dns_name target;
    enum pag_err err = pag_dns_name_in(p, r, 0, &target);
    struct instance *one = err == PAG_OK ? instance_of(set, &target) : NULL;
    if (one != NULL) {
        one->here = r->ttl != 0; /* 0: it says good-bye */
        (void)snprintf(one->from, sizeof one->from, "%s", from);
    }
    return err;
}

static enum pag_err srv_take(struct pag_mdns_set *set, struct pag_span p, const struct pag_dns_record *r,
                             const char *from)
{
    struct pag_dns_name target;
    enum pag_err err = pag_dns_name_in(p, r, 6, &target);
    struct instance *one = err == PAG_OK ? instance_of(set, &r->name) : NULL;
    if (one != NULL) {
        one->has_srv = true;
        one->f.port = pag_u16be(r->data.p + 4);
        host_text(&target, one->f.host);
        (void)snprintf(one->from, sizeof one->from, "%s", from);
    }
    return err;
}

static enum pag_err record_take(struct pag_mdns_set *set, struct pag_span p, const struct pag_dns_record *r,
                                const char *from)
{
    struct instance *one = NULL;
    char name[PAG_MDNS_NAME];
    char address[PAG_MDNS_ADDRESS];
    if (r->class != PAG_DNS_IN) {
        return PAG_OK;
    }
    switch (r->type) {
    case PAG_DNS_PTR:
        return ptr_take(set, p, r, from);
    case PAG_DNS_SRV:
        return srv_take(set, p, r, from);
    case PAG_DNS_TXT:
        one = instance_of(set, &r->name);
        if (one != NULL) {
            txt_read(one, r->data);
        }
        return PAG_OK;
    case PAG_DNS_A:
        if (r->data.n == 4 && r->ttl != 0) {
            host_text(&r->name, name);
            (void)snprintf(address, sizeof address, "%u.%u.%u.%u", (unsigned)r->data.p[0],
                           (unsigned)r->data.p[1], (unsigned)r->data.p[2], (unsigned)r->data.p[3]);
            host_put(set, name, address);
        }
        return PAG_OK;
    default:
        return PAG_OK; /* other records are none of ours */
    }
}

enum pag_err pag_mdns_read(struct pag_mdns_list *list, struct pag_span packet, const char *from)
{
    struct pag_dns_record r;
    size_t at = PAG_DNS_HEADER;
    if (packet.n < PAG_DNS_HEADER) {
        return PAG_E_SHORT;
    }
    if ((pag_u16be(packet.p + 2) & PAG_DNS_ANSWER) == 0) {
        return PAG_E_SYNTAX; /* somebody else's question */
    }
    for (unsigned q = pag_u16be(packet.p + 4); q > 0; q--) {
        struct pag_dns_name asked;
        enum pag_err err = pag_dns_name_read(packet, &at, &asked);
        if (err != PAG_OK || packet.n - at < 4) {
            return err != PAG_OK ? err : PAG_E_SHORT;
        }
        at += 4;
    }
    unsigned records = (unsigned)pag_u16be(packet.p + 6) + pag_u16be(packet.p + 8) + pag_u16be(packet.p + 10);
    for (; records > 0 && at < packet.n; records--) {
        enum pag_err err = pag_dns_record_read(packet, &at, &r);
        err = err == PAG_OK ? record_take(list->set, packet, &r, from) : err;
        if (err != PAG_OK) {
            return err;
        }
    }
    return records == 0 ? PAG_OK : PAG_E_SHORT;
}

/* ---- the list ---- */

/* Where ESPHome takes updates: its record names the port of its API. */
static uint16_t esphome_port(const struct instance *one)
{
    if (same(one->platform, "ESP8266")) {
        return 8266;
    }
    if (same(one->platform, "RP2040") || same(one->platform, "RP2")) {
        return 2040;
    }
    return one->platform[0] == '\0' || same(one->platform, "ESP32") ? 3232 : 8892;
}

static void finish_one(const struct pag_mdns_list *list, const struct instance *one, struct pag_mdns_found *f)
{
    const char *address = pag_mdns_host(list, one->f.host);
    *f = one->f;
    (void)snprintf(f->address, sizeof f->address, "%s", address != NULL ? address : one->from);
    (void)snprintf(f->version, sizeof f->version, "%s",
                   one->project_version[0] != '\0' ? one->project_version : one->said_version);
    if (f->protocol == PAG_PUSH_ESPHOME) {
        f->port = esphome_port(one);
        /* "ESP32" is the family there; which one of it is not said */
        f->chip = same(one->platform, "ESP8266") ? PAG_CHIP_ESP8266 : PAG_CHIP_UNKNOWN;
    }
}

/* A web page of a device that is known by a protocol of its own is no device more. */
static bool is_double(const struct pag_mdns_set *set, const struct instance *one)
{
    for (size_t i = 0; i < set->instance_n && one->f.protocol == PAG_PUSH_WEB; i++) {
        const struct instance *other = &set->instance[i];
        if (other->here && other->has_srv && other->f.protocol != PAG_PUSH_WEB &&
            other->f.protocol != PAG_PUSH_ESPOTA && same(other->f.host, one->f.host)) {
            return true;
        }
    }
    return false;
}

void pag_mdns_list_make(struct pag_mdns_list *list)
{
    const struct pag_mdns_set *set = list->set;
    list->n = 0;
    for (size_t i = 0; i < set->instance_n; i++) {
        const struct instance *one = &set->instance[i];
        if (one->here && one->has_srv && !is_double(set, one)) {
            finish_one(list, one, &list->item[list->n++]);
        }
    }
}

bool pag_mdns_is(const struct pag_mdns_found *f, const char *host)
{
    struct pag_span s = pag_span_str(host);
    if (s.n > 6 && same(host + s.n - 6, ".local")) {
        s.n -= 6;
    }
    return pag_span_eq_str(s, f->address) || pag_span_eq_nocase(s, f->host) || pag_span_eq_nocase(s, f->name);
}

/* ---- questions ---- */

enum pag_err pag_mdns_ask(const struct pag_mdns_list *list, uint16_t id, struct pag_buf *out)
{
    const struct pag_mdns_set *set = list->set;
    uint8_t n = 0;
    enum pag_err err = pag_dns_head(out, id);
    for (size_t i = 0; err == PAG_OK && i < SERVICES; i++, n++) {
        err = pag_dns_question(out, NULL, services[i].name, PAG_DNS_PTR);
    }
    for (size_t i = 0; err == PAG_OK && i < set->instance_n && n < SERVICES + ASK_MAX; i++) {
        const struct instance *one = &set->instance[i];
        const char *service = services[0].name;
        for (size_t s = 0; s < SERVICES; s++) {
            service = services[s].protocol == one->f.protocol ? services[s].name : service;
        }
        if (one->here && (!one->has_srv || !one->has_txt)) {
            err = pag_dns_question(out, one->f.name, service, PAG_DNS_ANY);
            n++;
        }
    }
    if (err == PAG_OK) {
        out->p[5] = n;
    }
    return err;
}

enum pag_err pag_mdns_ask_host(const char *host, uint16_t id, struct pag_buf *out)
{
    enum pag_err err = pag_dns_head(out, id);
    err = err == PAG_OK ? pag_dns_question(out, NULL, host, PAG_DNS_A) : err;
    if (err == PAG_OK) {
        out->p[5] = 1;
    }
    return err;
}
