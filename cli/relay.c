#include "cli/relay.h"

#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/out.h"
#include "cli/push_lan.h"
#include "cli/settings.h"
#include "core/bytes.h"
#include "host/fs.h"
#include "relay/net.h"

enum { TICK_MS = 200, TELL_MS = 2000, FIRST_WAIT_MS = 30000, LAST_WAIT_MS = 3600000, LOOK_MS = 3000 };

/* ---- what is kept of devices ---- */

struct pag_job *pag_relay_job_of(struct pag_relay *r, const char *device)
{
    for (size_t i = 0; i < r->job_n; i++) {
        if ((r->job[i].used && strcmp(r->job[i].device, device) == 0) ||
            strcmp(r->word[i].device, device) == 0) {
            return &r->job[i];
        }
    }
    return NULL;
}

static struct pag_relay_wait *wait_of(const struct pag_relay *r, const char *device, bool fresh)
{
    struct pag_relay_wait *oldest = &r->wait[0];
    for (size_t i = 0; i < PAG_RELAY_WAITS; i++) {
        struct pag_relay_wait *w = &r->wait[i];
        if (strcmp(w->device, device) == 0) {
            return w;
        }
        oldest = w->until_ms < oldest->until_ms ? w : oldest;
    }
    if (!fresh) {
        return NULL;
    }
    memset(oldest, 0, sizeof *oldest);
    (void)snprintf(oldest->device, sizeof oldest->device, "%s", device);
    return oldest;
}

void pag_relay_put_off(struct pag_relay *r, const char *device, bool ok)
{
    struct pag_relay_wait *w = wait_of(r, device, !ok);
    if (w == NULL) {
        return;
    }
    if (ok) {
        memset(w, 0, sizeof *w);
        return;
    }
    uint64_t ms = (uint64_t)FIRST_WAIT_MS << (w->failures < 7 ? w->failures : 7);
    ms = ms > r->interval_ms * 64 ? r->interval_ms * 64 : ms; /* short rounds: short waits */
    w->failures++;
    w->until_ms = pag_net_now_ms() + (ms < LAST_WAIT_MS ? ms : LAST_WAIT_MS);
}

bool pag_relay_is_off(const struct pag_relay *r, const char *device)
{
    const struct pag_relay_wait *w = wait_of(r, device, false);
    return w != NULL && pag_net_now_ms() < w->until_ms;
}

/* ---- words ---- */

void pag_relay_say(struct pag_relay *r, const char *device, const char *state, const char *text)
{
    char stamp[25];
    pag_time_text(r->cli->clock.now_unix_ms(r->cli->clock.ctx), stamp);
    json_t *v =
        json_pack("{s:s, s:s, s:s, s:s}", "at", stamp, "device", device, "state", state, "text", text);
    if (r->cli->json || r->cli->jsonl) {
        char *line = v != NULL ? json_dumps(v, JSON_COMPACT) : NULL;
        if (line != NULL) {
            (void)printf("%s\n", line);
        }
        free(line);
    } else {
        (void)printf("%s\t%s\t%s\t%s\n", stamp, device, state, text);
    }
    json_decref(v);
    (void)fflush(stdout);
}

bool pag_relay_tell(struct pag_relay *r, const struct pag_relay_word *w, unsigned percent)
{
    struct pag_answer a;
    struct pag_call call = { .method = "POST", .path = "/relay/report", .silent = true };
    json_t *body =
        pag_cli_keep(r->cli, json_pack("{s:s, s:I, s:s, s:i, s:i, s:s}", "device", w->device, "action",
                                       (json_int_t)w->action, "state", w->state, "progress", (int)percent,
                                       "code", w->code > 0 ? w->code : 0, "text", w->text));
    if (w->has_version) {
        (void)json_object_set_new(body, "version", json_string(w->version));
    }
    call.body = body;
    int rc = pag_client_call(r->cli, &call, &a);
    /* What the server has an opinion on is said: it may have closed the action meanwhile. */
    return rc == PAG_EXIT_OK || (a.status >= 400 && a.status < 500 && a.status != 429);
}

static void say_later(struct pag_relay *r, size_t i)
{
    if (r->word[i].device[0] != '\0' && pag_relay_tell(r, &r->word[i], 100)) {
        memset(&r->word[i], 0, sizeof r->word[i]);
    }
}

/* ---- jobs ---- */

static const char *state_of(int phase)
{
    switch ((enum pag_push_phase)phase) {
    case PAG_PUSH_KNOCKING:
    case PAG_PUSH_SENDING:
        return "downloading";
    case PAG_PUSH_INSTALLING:
        return "installing";
    case PAG_PUSH_TAKEN:
        break;
    }
    return "rebooting";
}

static void tell_progress(struct pag_relay *r, struct pag_job *job)
{
    int phase = atomic_load(&job->phase);
    unsigned percent = atomic_load(&job->percent);
    uint64_t now = pag_net_now_ms();
    bool moved =
        phase == PAG_PUSH_SENDING && percent >= job->told_percent + 10 && now - job->told_ms >= TELL_MS;
    if (phase == job->told_phase && !moved) {
        return;
    }
    struct pag_relay_word w = { .action = job->action, .state = state_of(phase) };
    (void)snprintf(w.device, sizeof w.device, "%s", job->device);
    if (pag_relay_tell(r, &w, percent)) {
        job->told_phase = phase;
        job->told_percent = percent;
    }
    job->told_ms = now;
}

static void end_job(struct pag_relay *r, size_t i)
{
    struct pag_job *job = &r->job[i];
    struct pag_relay_word *w = &r->word[i];
    pag_job_finish(job);
    bool ok = job->end == PAG_JOB_CONFIRMED;
    if (job->end != PAG_JOB_STOPPED) {
        memset(w, 0, sizeof *w);
        memcpy(w->device, job->device, sizeof w->device);
        w->action = job->action;
        w->state = pag_job_end_word(job->end);
        w->code = job->result.code;
        (void)snprintf(w->text, sizeof w->text, "%s", job->text);
        w->has_version = ok && job->after.answers;
        memcpy(w->version, job->after.version, sizeof w->version);
    }
    pag_relay_say(r, job->device, job->end == PAG_JOB_STOPPED ? "stopped" : w->state, job->text);
    pag_relay_put_off(r, job->device, ok);
    r->confirmed += ok;
    r->failed += !ok;
    job->used = false;
    say_later(r, i);
}

/* True while something runs or is still to be said. */
static bool tend(struct pag_relay *r)
{
    bool busy = false;
    for (size_t i = 0; i < r->job_n; i++) {
        if (r->job[i].used && atomic_load(&r->job[i].over)) {
            end_job(r, i);
        } else if (r->job[i].used && !r->server_gone) {
            tell_progress(r, &r->job[i]);
        }
        busy |= r->job[i].used || r->word[i].device[0] != '\0';
    }
    return busy;
}

static void retry_words(struct pag_relay *r)
{
    for (size_t i = 0; i < r->job_n; i++) {
        say_later(r, i);
    }
}

static void stop_all(struct pag_relay *r)
{
    for (size_t i = 0; i < r->job_n; i++) {
        if (r->job[i].used) {
            end_job(r, i);
        }
    }
}

/* ---- the loop ---- */

static int in_round(struct pag_relay *r, int (*step)(struct pag_relay *r))
{
    struct pag_arena *outer = pag_cli_round_begin(r->cli);
    int rc = step(r);
    pag_cli_round_end(r->cli, outer);
    return rc;
}

static int step_round(struct pag_relay *r)
{
    retry_words(r);
    return pag_relay_round(r);
}

static int step_tend(struct pag_relay *r)
{
    return tend(r) ? 1 : 0;
}

static int step_stop(struct pag_relay *r)
{
    stop_all(r);
    return PAG_EXIT_OK;
}

static int run(struct pag_relay *r)
{
    const atomic_bool *stop = pag_lan_stop();
    uint64_t next_ms = 0;
    int rc = PAG_EXIT_OK;
    bool busy = false;
    while (rc == PAG_EXIT_OK && !atomic_load(stop)) {
        if (pag_net_now_ms() >= next_ms && !(r->once && next_ms != 0)) {
            rc = in_round(r, step_round);
            next_ms = pag_net_now_ms() + r->interval_ms;
        }
        busy = in_round(r, step_tend) != 0;
        if (r->once && !busy) {
            break;
        }
        (void)pag_wait_pause(TICK_MS, stop);
    }
    if (atomic_load(stop)) {
        (void)in_round(r, step_stop); /* the threads see it too */
        return PAG_EXIT_INTERRUPTED;
    }
    if (rc == PAG_EXIT_OK && r->once && r->server_gone) {
        return pag_cli_fail(r->cli, PAG_EXIT_UNREACHABLE, NULL, "the server is not to be had");
    }
    return rc == PAG_EXIT_OK && r->failed > 0 ? PAG_EXIT_ENDED_BADLY : rc;
}

/* ---- beginning ---- */

static int read_products(struct pag_relay *r)
{
    const char *list = pag_opt(r->cli, "products");
    if (list == NULL) {
        return pag_cli_fail(r->cli, PAG_EXIT_USAGE, "--products lamp,meter; or --find to only look around",
                            "devices of which products?");
    }
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        if (n > 0 && r->product_n == PAG_RELAY_PRODUCTS_MAX) {
            return pag_cli_fail(r->cli, PAG_EXIT_USAGE, NULL, "at most %d products", PAG_RELAY_PRODUCTS_MAX);
        }
        if (n > 0) {
            r->product[r->product_n++] = pag_cli_text(r->cli, "%.*s", (int)n, list);
        }
        list += n + (list[n] == ',');
    }
    return PAG_EXIT_OK;
}

static int make_cache(struct pag_relay *r)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    r->cache = pag_opt(r->cli, "cache");
    if (r->cache == NULL && base != NULL && base[0] == '/') {
        r->cache = pag_cli_text(r->cli, "%s/pagurus/relay", base);
    } else if (r->cache == NULL) {
        r->cache = pag_cli_text(r->cli, "%s/.cache/pagurus/relay", home != NULL ? home : "/var/tmp");
    }
    if (pag_fs_mkdirs(r->cache, 0700, &why) != PAG_OK) {
        return pag_cli_fail(r->cli, PAG_EXIT_FAILED, "--cache FOLDER", "%s: %s", r->cache, why.what);
    }
    return PAG_EXIT_OK;
}

static int read_numbers(struct pag_relay *r)
{
    uint64_t interval_s = 0;
    uint64_t wait_s = 0;
    uint64_t jobs = 0;
    int rc = pag_opt_seconds(r->cli, "interval", 60, &interval_s);
    rc = rc == PAG_EXIT_OK ? pag_opt_seconds(r->cli, "wait", 90, &wait_s) : rc;
    rc = rc == PAG_EXIT_OK ? pag_opt_number(r->cli, "jobs", 4, &jobs) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (interval_s < 1 || interval_s > 86400 || wait_s < 1 || wait_s > 3600 || jobs < 1 ||
        jobs > PAG_RELAY_JOBS_MAX) {
        return pag_cli_fail(r->cli, PAG_EXIT_USAGE, NULL,
                            "--interval 1s to 24h, --wait 1s to 1h, --jobs 1 to %d", PAG_RELAY_JOBS_MAX);
    }
    r->interval_ms = interval_s * 1000;
    r->wait_ms = wait_s * 1000;
    r->job_n = (size_t)jobs;
    return rc;
}

static int find_only(struct pag_relay *r)
{
    static const struct pag_column columns[] = {
        { "ID", "id", PAG_CELL_TEXT },
        { "NAME", "name", PAG_CELL_TEXT },
        { "PROTOCOL", "protocol", PAG_CELL_TEXT },
        { "ADDRESS", "address", PAG_CELL_TEXT },
        { "VERSION", "version", PAG_CELL_TEXT },
        { "PROJECT", "project", PAG_CELL_TEXT },
        { NULL, NULL, PAG_CELL_TEXT },
    };
    struct pag_mdns_query query = { .to = r->mdns, .stop = pag_lan_stop() };
    struct pag_relay_source source = pag_relay_source_mdns;
    source.ctx = &query;
    json_t *items = pag_cli_keep(r->cli, json_array());
    size_t n = pag_relay_look(&source, 1, LOOK_MS, r->found, PAG_MDNS_FOUND_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct pag_mdns_found *f = &r->found[i];
        char id[PAG_DEVICE_ID_MAX + 1];
        pag_relay_id(f, id);
        (void)json_array_append_new(items,
                                    json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s?, s:b}", "id", id, "name",
                                              f->name, "protocol", pag_push_word(f->protocol), "address",
                                              pag_cli_text(r->cli, "%s:%u", f->address, (unsigned)f->port),
                                              "version", f->version[0] != '\0' ? f->version : NULL, "project",
                                              f->project[0] != '\0' ? f->project : NULL, "wants_password",
                                              (int)f->wants_password));
    }
    return pag_out_items(r->cli, items, columns);
}

static int server_and_token(struct pag_cli *cli)
{
    int rc = pag_conf_load(cli);
    rc = rc == PAG_EXIT_OK ? pag_conf_need_server(cli) : rc;
    return rc == PAG_EXIT_OK ? pag_conf_token(cli) : rc;
}

int pag_cmd_relay(struct pag_cli *cli)
{
    struct pag_relay *r = pag_cli_alloc(cli, sizeof *r);
    memset(r, 0, sizeof *r);
    r->cli = cli;
    r->mdns = pag_opt(cli, "mdns");
    r->once = pag_opt_on(cli, "once");
    r->found = pag_cli_alloc(cli, PAG_MDNS_FOUND_MAX * sizeof *r->found);
    pag_lan_catch();
    if (pag_opt_on(cli, "find")) {
        return find_only(r);
    }
    int rc = read_numbers(r);
    rc = rc == PAG_EXIT_OK ? read_products(r) : rc;
    rc = rc == PAG_EXIT_OK ? pag_relay_rules_read(cli, pag_opt(cli, "devices"), &r->rules) : rc;
    rc = rc == PAG_EXIT_OK ? make_cache(r) : rc;
    rc = rc == PAG_EXIT_OK ? server_and_token(cli) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    r->job = pag_cli_alloc(cli, r->job_n * sizeof *r->job);
    r->word = pag_cli_alloc(cli, r->job_n * sizeof *r->word);
    r->wait = pag_cli_alloc(cli, PAG_RELAY_WAITS * sizeof *r->wait);
    memset(r->job, 0, r->job_n * sizeof *r->job);
    memset(r->word, 0, r->job_n * sizeof *r->word);
    memset(r->wait, 0, PAG_RELAY_WAITS * sizeof *r->wait);
    return run(r);
}
