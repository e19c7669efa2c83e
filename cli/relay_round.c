#include <string.h>

#include "cli/client.h"
#include "cli/find.h"
#include "cli/out.h"
#include "cli/push_lan.h"
#include "cli/relay.h"
#include "cli/relay_image.h"
#include "core/bytes.h"
#include "core/image.h"
#include "host/fs.h"
#include "relay/net.h"

enum { LOOK_MS = 3000, SOURCES = 2 };

/* A device of one of our products, as it is now. */
struct present {
    struct pag_mdns_found f;
    char id[PAG_DEVICE_ID_MAX + 1];
    const char *product;
    const struct pag_relay_rule *rule;
};

struct round {
    struct pag_relay *r;
    struct present *here;
    size_t here_n;
    json_t *recorded; /* items of GET /relay/work of all products */
};

/* ---- calls ---- */

/* PAG_EXIT_OK also while the server is gone: *got says. Codes that no waiting mends end the relay. */
static int judge(struct pag_relay *r, const struct pag_call *call, const struct pag_answer *a, int rc,
                 bool *got)
{
    *got = rc == PAG_EXIT_OK;
    if (*got) {
        if (r->server_gone) {
            pag_cli_say(r->cli, "the server is back\n");
        }
        r->server_gone = false;
        return rc;
    }
    if (a->status == 401 || a->status == 403) {
        return pag_problem_say(r->cli, call, a);
    }
    if (a->status == 0 || a->status >= 500 || a->status == 429) {
        if (!r->server_gone) {
            pag_cli_warn(r->cli,
                         "the server is not to be had (%s); pushes that run go on, and it is tried again",
                         a->status == 0 ? a->error : "it is busy");
        }
        r->server_gone = true;
    }
    return PAG_EXIT_OK;
}

static int get_page(struct round *o, const char *path, json_t **reply)
{
    struct pag_answer a;
    bool got = false;
    struct pag_call call = { .method = "GET", .path = path, .silent = true };
    int rc = pag_client_call(o->r->cli, &call, &a);
    rc = judge(o->r, &call, &a, rc, &got);
    *reply = got ? a.json : NULL;
    if (rc == PAG_EXIT_OK && a.status == 404) {
        return pag_problem_say(o->r->cli, &call, &a);
    }
    return rc;
}

/* One page of one product; *cursor leads to the next, NULL: the end. */
static int get_work_page(struct round *o, const char *product, const char **cursor, bool *whole)
{
    struct pag_cli *cli = o->r->cli;
    json_t *reply = NULL;
    const char *path =
        pag_cli_text(cli, "/relay/work?product=%s&limit=1000", pag_client_escape(cli, product));
    if (*cursor != NULL) {
        path = pag_cli_text(cli, "%s&cursor=%s", path, pag_client_escape(cli, *cursor));
    }
    int rc = get_page(o, path, &reply);
    *whole &= reply != NULL;
    (void)json_array_extend(o->recorded, json_object_get(reply, "items"));
    *cursor = json_string_value(json_object_get(reply, "next_cursor"));
    return rc;
}

/* What the server has on its push devices; *whole: all of it came. */
static int get_work(struct round *o, bool *whole)
{
    int rc = PAG_EXIT_OK;
    o->recorded = pag_cli_keep(o->r->cli, json_array());
    *whole = true;
    for (size_t i = 0; rc == PAG_EXIT_OK && i < o->r->product_n; i++) {
        const char *cursor = NULL;
        do {
            rc = get_work_page(o, o->r->product[i], &cursor, whole);
        } while (rc == PAG_EXIT_OK && cursor != NULL);
    }
    return rc;
}

/* ---- who is here ---- */

static const json_t *recorded_of(const struct round *o, const char *id)
{
    size_t i = 0;
    const json_t *item = NULL;
    json_array_foreach(o->recorded, i, item)
    {
        if (strcmp(pag_out_text(item, "device"), id) == 0) {
            return item;
        }
    }
    return NULL;
}

static const char *own_product(const struct pag_relay *r, const char *name)
{
    for (size_t i = 0; i < r->product_n; i++) {
        if (strcmp(r->product[i], name) == 0) {
            return r->product[i];
        }
    }
    return NULL;
}

/* By a rule, by the server's record, or by the project that ESPHome names: "lamp" or "acme.lamp". */
static const char *product_of(const struct round *o, const struct present *p)
{
    const json_t *item = recorded_of(o, p->id);
    const char *dot = strrchr(p->f.project, '.');
    if (p->rule != NULL && p->rule->product != NULL) {
        return own_product(o->r, p->rule->product);
    }
    if (item != NULL) {
        return own_product(o->r, pag_out_text(item, "product"));
    }
    return p->f.protocol == PAG_PUSH_ESPHOME ? own_product(o->r, dot != NULL ? dot + 1 : p->f.project) : NULL;
}

/* A device that the server knows, and that does not announce itself now. */
static void add_recorded(struct round *o)
{
    size_t i = 0;
    const json_t *item = NULL;
    json_array_foreach(o->recorded, i, item)
    {
        struct pag_mdns_found f = { .port = 0 };
        const char *word = pag_out_text(item, "protocol");
        struct pag_span address = pag_span_str(pag_out_text(item, "address"));
        size_t colon = pag_span_find(address, 0, ':');
        uint32_t port = 0;
        bool known = false;
        for (size_t k = 0; k < o->here_n; k++) {
            known |= strcmp(o->here[k].id, pag_out_text(item, "device")) == 0;
        }
        if (known || o->here_n == PAG_MDNS_FOUND_MAX || strncmp(word, "push-", 5) != 0 ||
            pag_push_by_word(word + 5, &f.protocol) != PAG_OK || colon >= address.n ||
            pag_parse_u32((struct pag_span){ address.p + colon + 1, address.n - colon - 1 }, &port) !=
                PAG_OK ||
            pag_text_copy(f.address, sizeof f.address, (struct pag_span){ address.p, colon }) != PAG_OK) {
            continue;
        }
        f.port = (uint16_t)port;
        (void)pag_text_copy(f.mac, sizeof f.mac, pag_span_str(pag_out_text(item, "mac")));
        (void)snprintf(f.name, sizeof f.name, "%.63s", pag_out_text(item, "name"));
        struct present *p = &o->here[o->here_n++];
        *p = (struct present){ .f = f };
        (void)snprintf(p->id, sizeof p->id, "%.64s", pag_out_text(item, "device"));
        p->rule = pag_relay_rule_of(&o->r->rules, &f, p->id);
    }
}

static void order_of(const struct pag_relay *r, const struct present *p, struct pag_push_order *o)
{
    *o = (struct pag_push_order){ .protocol = p->f.protocol,
                                  .host = p->f.address,
                                  .port = p->f.port,
                                  .chip = p->f.chip,
                                  .mdns = r->mdns,
                                  .stop = pag_lan_stop() };
    if (p->rule != NULL) {
        o->user = p->rule->user;
        o->password = p->rule->password;
        o->path = p->rule->path;
    }
}

/* Asks the device itself where its announcement does not say all. False: it is not there. */
static bool probe(const struct pag_relay *r, struct present *p, bool announced)
{
    struct pag_push_order o;
    struct pag_push_info info;
    bool asks = p->f.protocol == PAG_PUSH_WLED || !announced;
    if (!asks || (p->f.protocol == PAG_PUSH_ESPOTA && !announced)) {
        return true; /* ArduinoOTA answers to nothing but an invitation */
    }
    order_of(r, p, &o);
    if (pag_push_look(&o, &info) != PAG_OK || !info.answers) {
        return false;
    }
    if (info.version[0] != '\0') {
        memcpy(p->f.version, info.version, sizeof p->f.version);
    }
    if (info.mac[0] != '\0') {
        memcpy(p->f.mac, info.mac, sizeof p->f.mac);
    }
    p->f.chip = info.chip != PAG_CHIP_UNKNOWN ? info.chip : p->f.chip;
    return true;
}

static bool rule_is_taken(const struct round *o, const struct pag_relay_rule *rule)
{
    for (size_t i = 0; i < o->here_n; i++) {
        if (o->here[i].rule == rule) {
            return true;
        }
    }
    return false;
}

/* False: it is no device of ours, or the same as one before. An address in the rules beats what is announced.
 */
static bool fill_found(const struct round *o, struct present *p)
{
    const struct pag_relay_rules *rules = &o->r->rules;
    pag_relay_id(&p->f, p->id);
    p->rule = pag_relay_rule_of(rules, &p->f, p->id);
    p->product = p->id[0] != '\0' ? product_of(o, p) : NULL;
    if (p->product == NULL || (p->rule != NULL && p->rule->address != NULL && rule_is_taken(o, p->rule))) {
        return false;
    }
    if (p->rule != NULL && p->rule->address != NULL) {
        (void)snprintf(p->f.address, sizeof p->f.address, "%s", p->rule->address);
        p->f.port = p->rule->port;
    }
    p->f.port = p->f.port != 0 ? p->f.port : pag_push_port(p->f.protocol, p->f.chip);
    return true;
}

static void add_found(struct round *o)
{
    struct pag_relay *r = o->r;
    struct pag_mdns_query query = { .to = r->mdns, .stop = pag_lan_stop() };
    struct pag_relay_source source[SOURCES] = { pag_relay_source_mdns, pag_relay_source_rules };
    source[0].ctx = &query;
    source[1].ctx = &r->rules;
    size_t n = pag_relay_look(source, SOURCES, LOOK_MS, r->found, PAG_MDNS_FOUND_MAX);
    for (size_t i = 0; i < n; i++) {
        struct present *p = &o->here[o->here_n];
        *p = (struct present){ .f = r->found[i] };
        o->here_n += fill_found(o, p);
    }
}

/* ---- telling the server ---- */

static json_t *sighting(struct pag_cli *cli, const struct present *p)
{
    return pag_cli_keep(cli,
                        json_pack("{s:s, s:s, s:s, s:s?, s:s, s:s?, s:s?}", "product", p->product, "protocol",
                                  pag_cli_text(cli, "push-%s", pag_push_word(p->f.protocol)), "address",
                                  pag_cli_text(cli, "%s:%u", p->f.address, (unsigned)p->f.port), "mac",
                                  p->f.mac[0] != '\0' ? p->f.mac : NULL, "name", p->f.name, "version",
                                  p->f.version[0] != '\0' ? p->f.version : NULL, "chip",
                                  p->f.chip != PAG_CHIP_UNKNOWN ? pag_chip_name(p->f.chip) : NULL));
}

static void warn_once(struct pag_relay *r, const struct present *p, const struct pag_call *call,
                      const struct pag_answer *a)
{
    for (size_t i = 0; i < r->product_n; i++) {
        if (r->product[i] == p->product && !r->warned[i]) {
            r->warned[i] = true;
            pag_cli_warn(r->cli, "%s of %s is not taken up by the server:", p->id, p->product);
            (void)pag_problem_say(r->cli, call, a);
        }
    }
}

static int tell_seen(struct round *o, const struct present *p)
{
    struct pag_answer a;
    bool got = false;
    struct pag_cli *cli = o->r->cli;
    struct pag_call call = { .method = "PUT", .silent = true, .body = sighting(cli, p) };
    call.path = pag_cli_text(cli, "/relay/devices/%s", pag_client_escape(cli, p->id));
    int rc = pag_client_call(cli, &call, &a);
    rc = judge(o->r, &call, &a, rc, &got);
    if (rc == PAG_EXIT_OK && !got && !o->r->server_gone) {
        warn_once(o->r, p, &call, &a);
    }
    return rc;
}

static int see_all(struct round *o)
{
    size_t announced = o->here_n;
    add_recorded(o);
    for (size_t i = 0; i < o->here_n && !atomic_load(pag_lan_stop()); i++) {
        struct present *p = &o->here[i];
        p->product = p->product != NULL ? p->product : product_of(o, p);
        if (p->product == NULL || pag_relay_job_of(o->r, p->id) != NULL || pag_relay_is_off(o->r, p->id)) {
            p->product = NULL;
            continue;
        }
        bool fixed = p->rule != NULL && p->rule->address != NULL;
        if (!probe(o->r, p, i < announced && !fixed)) {
            pag_relay_put_off(o->r, p->id, false);
            p->product = NULL;
            continue;
        }
        if (fixed && p->f.mac[0] != '\0') {
            pag_relay_id(&p->f, p->id);
        }
        int rc = tell_seen(o, p);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
    }
    return PAG_EXIT_OK;
}

/* ---- pushing ---- */

static struct pag_job *free_slot(struct pag_relay *r)
{
    for (size_t i = 0; i < r->job_n; i++) {
        if (!r->job[i].used && r->word[i].device[0] == '\0') {
            return &r->job[i];
        }
    }
    return NULL;
}

static void copy(char *dst, size_t cap, const char *src)
{
    (void)snprintf(dst, cap, "%s", src != NULL ? src : "");
}

static bool fill_job(struct pag_relay *r, const struct present *p, const json_t *item, struct pag_job *job)
{
    memset(job, 0, sizeof *job);
    copy(job->device, sizeof job->device, p->id);
    job->action = (uint32_t)pag_out_number(item, "action.id");
    copy(job->wanted, sizeof job->wanted, pag_out_text(item, "action.version"));
    copy(job->running, sizeof job->running, pag_out_text(item, "running"));
    job->where = p->f;
    job->wait_ms = (uint32_t)r->wait_ms;
    order_of(r, p, &job->order);
    copy(job->host, sizeof job->host, p->f.address);
    job->order.host = job->host;
    const char *const from[] = { job->order.user, job->order.password, job->order.path };
    char *const to[] = { job->user, job->password, job->path };
    for (size_t i = 0; i < 3; i++) {
        if (from[i] != NULL && strlen(from[i]) >= PAG_JOB_SECRET) {
            return false;
        }
        copy(to[i], PAG_JOB_SECRET, from[i]);
    }
    job->order.user = from[0] != NULL ? job->user : NULL;
    job->order.password = from[1] != NULL ? job->password : NULL;
    job->order.path = from[2] != NULL ? job->path : NULL;
    return true;
}

static void say_state(struct pag_relay *r, const struct present *p, const json_t *item, const char *state,
                      const char *text)
{
    struct pag_relay_word w = { .action = (uint32_t)pag_out_number(item, "action.id"), .state = state };
    copy(w.device, sizeof w.device, p->id);
    copy(w.text, sizeof w.text, text);
    (void)pag_relay_tell(r, &w, 0);
    pag_relay_say(r, p->id, state, text);
}

/* It restarted into the image while nobody looked: what it says now decides, as it would have then. */
static void settle(struct pag_relay *r, const struct present *p, const json_t *item)
{
    struct pag_relay_word w = { .action = (uint32_t)pag_out_number(item, "action.id"), .has_version = true };
    enum pag_job_end end = pag_job_judge(pag_out_text(item, "action.version"), pag_out_text(item, "running"),
                                         p->f.version, w.text, sizeof w.text);
    w.state = pag_job_end_word(end);
    copy(w.device, sizeof w.device, p->id);
    copy(w.version, sizeof w.version, p->f.version);
    if (pag_relay_tell(r, &w, 100)) {
        pag_relay_say(r, p->id, w.state, w.text);
    }
}

static void start(struct round *o, const struct present *p, const json_t *item, struct pag_job *job)
{
    struct pag_relay *r = o->r;
    struct pag_relay_image image;
    const char *why = "";
    json_t *product = NULL;
    int rc = pag_find_product(r->cli, p->product, &product);
    if (rc == PAG_EXIT_OK) {
        rc = pag_relay_image_get(r->cli, r->cache, product, item, &image, &why);
    }
    if (rc != PAG_EXIT_OK) {
        if (rc == PAG_EXIT_DENIED) {
            say_state(r, p, item, "rejected", why);
        } else {
            pag_cli_warn(r->cli, "%s: %s", p->id, why);
        }
        pag_relay_put_off(r, p->id, false);
        return;
    }
    bool filled = fill_job(r, p, item, job);
    job->image = image.bytes;
    job->order.image = pag_buf_span(&job->image);
    job->order.chip = image.chip;
    if (!filled || pag_job_start(job) != PAG_OK) {
        pag_fs_buf_free(&job->image);
        memset(job, 0, sizeof *job);
        pag_relay_put_off(r, p->id, false);
        return;
    }
    r->pushed++;
    pag_relay_say(r, p->id, "pushing",
                  pag_cli_text(r->cli, "%s by %s to %s:%u", job->wanted, pag_push_word(p->f.protocol),
                               p->f.address, (unsigned)p->f.port));
}

static void push_all(struct round *o)
{
    for (size_t i = 0; i < o->here_n; i++) {
        const struct present *p = &o->here[i];
        const json_t *item = p->product != NULL ? recorded_of(o, p->id) : NULL;
        bool open = json_is_object(json_object_get(item, "action"));
        if (!open || pag_relay_job_of(o->r, p->id) != NULL) {
            continue;
        }
        if (strcmp(pag_out_text(item, "action.state"), "rebooting") == 0) {
            settle(o->r, p, item);
            continue;
        }
        struct pag_job *job = free_slot(o->r);
        if (job == NULL) {
            return; /* the rest in the next round */
        }
        start(o, p, item, job);
    }
}

int pag_relay_round(struct pag_relay *r)
{
    struct round o = { .r = r };
    bool whole = false;
    o.here = pag_cli_alloc(r->cli, PAG_MDNS_FOUND_MAX * sizeof *o.here);
    int rc = get_work(&o, &whole);
    if (rc != PAG_EXIT_OK || !whole) {
        return rc;
    }
    add_found(&o);
    rc = see_all(&o);
    rc = rc == PAG_EXIT_OK ? get_work(&o, &whole) : rc;
    if (rc == PAG_EXIT_OK && whole) {
        push_all(&o);
    }
    return rc;
}
