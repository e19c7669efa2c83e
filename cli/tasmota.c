/* Configurations of Tasmota devices in this network, by their own web pages. */
#include "relay/tasmota.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/prompt.h"
#include "cli/push_lan.h"
#include "core/bytes.h"
#include "host/errno_text.h"
#include "host/fs.h"

enum { JOBS_MAX = 32 };

/* One device; what a worker writes is its own. */
struct task {
    struct pag_push_order o;
    const char *device; /* id of the server; NULL: named by hand */
    const char *file;
    struct pag_push_result r;
    struct pag_tasmota_dump dump;
    size_t bytes;
    bool tried;
};

struct round {
    struct task *task;
    size_t n;
    atomic_size_t next;
};

static const struct pag_column columns[] = {
    { "HOST", "host", PAG_CELL_TEXT },       { "DEVICE", "device", PAG_CELL_TEXT },
    { "VERSION", "version", PAG_CELL_TEXT }, { "BYTES", "bytes", PAG_CELL_TEXT },
    { "FILE", "file", PAG_CELL_TEXT },       { "RESULT", "result", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

/* ---- flags ---- */

static int read_order(struct pag_cli *cli, struct pag_push_order *o)
{
    const char *file = pag_opt(cli, "password-file");
    uint64_t port = 0;
    int rc = pag_opt_number(cli, "port", 0, &port);
    *o = (struct pag_push_order){
        .protocol = PAG_PUSH_WEB, .port = (uint16_t)port, .mdns = pag_opt(cli, "mdns"), .stop = pag_lan_stop()
    };
    if (rc == PAG_EXIT_OK && port > 65535) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "--port: ports end at 65535");
    }
    return rc == PAG_EXIT_OK && file != NULL ? pag_lan_secret(cli, file, &o->password) : rc;
}

/* A password that is asked for on the terminal once a device wants one. True: try again. */
static bool wants_password(struct pag_cli *cli, struct pag_push_order *o, const struct pag_push_result *r,
                           int *rc)
{
    char secret[PAG_SECRET_MAX];
    if (r->err != PAG_E_UNAUTHENTICATED || o->password != NULL) {
        return false;
    }
    *rc = pag_prompt_secret(cli, "--password-file FILE", pag_cli_text(cli, "Password of %s", o->host), secret,
                            sizeof secret);
    o->password = *rc == PAG_EXIT_OK ? pag_cli_text(cli, "%s", secret) : NULL;
    return *rc == PAG_EXIT_OK;
}

/* ---- backup ---- */

static void save(struct task *t)
{
    static _Thread_local uint8_t room[PAG_TASMOTA_FILE_MAX];
    struct pag_buf file = { room, 0, sizeof room };
    struct pag_fail why = { .code = PAG_OK };
    t->tried = true;
    enum pag_err err = pag_tasmota_backup(&t->o, &file, &t->dump, &t->r);
    t->bytes = file.n;
    if (err == PAG_OK && pag_fs_write(t->file, pag_buf_span(&file), 0600, &why) != PAG_OK) {
        t->r.err = PAG_E_IO;
        (void)snprintf(t->r.text, sizeof t->r.text, "%.120s cannot be written: %s", t->file,
                       why.detail != 0 ? pag_errno_text((int)why.detail) : "no room");
    }
    memset(room, 0, sizeof room); /* passwords of WiFi and broker */
}

static void *work(void *ctx)
{
    struct round *round = ctx;
    for (size_t i = atomic_fetch_add(&round->next, 1); i < round->n && !atomic_load(pag_lan_stop());
         i = atomic_fetch_add(&round->next, 1)) {
        if (round->task[i].o.host != NULL) {
            save(&round->task[i]);
        }
    }
    return NULL;
}

static void work_together(struct round *round, size_t jobs)
{
    pthread_t worker[JOBS_MAX];
    size_t started = 0;
    while (started + 1 < jobs && started + 1 < round->n &&
           pthread_create(&worker[started], NULL, work, round) == 0) {
        started++;
    }
    (void)work(round);
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(worker[i], NULL);
    }
}

static json_t *row_of(struct pag_cli *cli, const struct task *t)
{
    char version[PAG_TASMOTA_VERSION_MAX];
    bool ok = t->tried && t->r.err == PAG_OK;
    pag_tasmota_number_text(t->dump.version, version);
    const char *left_out =
        t->dump.damaged == 0 ? "ok" : "ok, but a driver's part is damaged and would be left out";
    return pag_cli_keep(cli, json_pack("{s:s?, s:s?, s:s?, s:I, s:s?, s:s}", "host", t->o.host, "device",
                                       t->device, "version", ok ? version : NULL, "bytes",
                                       (json_int_t)(ok ? t->bytes : 0), "file", ok ? t->file : NULL, "result",
                                       t->o.host == NULL ? "it has not said its address"
                                       : !t->tried       ? "not tried"
                                       : ok              ? left_out
                                                         : t->r.text));
}

static int say_round(struct pag_cli *cli, const struct round *round)
{
    json_t *rows = pag_cli_keep(cli, json_array());
    size_t bad = 0;
    for (size_t i = 0; i < round->n; i++) {
        bad += round->task[i].tried && round->task[i].r.err == PAG_OK ? 0 : 1;
        (void)json_array_append(rows, row_of(cli, &round->task[i]));
    }
    int rc = pag_out_items(cli, rows, columns);
    if (atomic_load(pag_lan_stop())) {
        return PAG_EXIT_INTERRUPTED;
    }
    return bad == 0
               ? rc
               : pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "%zu of %zu devices have no backup", bad, round->n);
}

/* "kitchen.dmp" below the folder of -o. Hosts hold no "/". */
static const char *file_for(struct pag_cli *cli, const char *name)
{
    const char *folder = pag_opt(cli, "output");
    return pag_cli_text(cli, "%s/%s.dmp", folder != NULL ? folder : ".", name);
}

/* ---- whom the server knows ---- */

/* Address that the device announced itself; NULL: none, or no address. */
static const char *address_of(struct pag_cli *cli, const char *id)
{
    json_t *data = NULL;
    struct in_addr v4;
    const char *ip = NULL;
    const char *path = pag_cli_text(cli, "/devices/%s/data", pag_client_escape(cli, id));
    if (pag_client_get(cli, path, &data) != PAG_EXIT_OK) {
        return NULL;
    }
    size_t i = 0;
    json_t *item = NULL;
    json_array_foreach(json_object_get(data, "data"), i, item)
    {
        json_t *payload = json_object_get(item, "payload");
        if (strcmp(pag_out_text(item, "topic"), "discovery/config") != 0) {
            continue;
        }
        if (json_is_string(payload)) {
            payload = pag_cli_keep(cli, json_loads(json_string_value(payload), JSON_REJECT_DUPLICATES, NULL));
        }
        ip = json_string_value(json_object_get(payload, "ip"));
    }
    return ip != NULL && inet_pton(AF_INET, ip, &v4) == 1 && v4.s_addr != 0 ? ip : NULL;
}

static int devices_of(struct pag_cli *cli, const json_t *product, json_t *all)
{
    json_t *spoken = NULL;
    json_t *devices = NULL;
    const char *name = pag_client_escape(cli, pag_out_text(product, "name"));
    int rc = pag_client_get(cli, pag_cli_text(cli, "/products/%s/dialect", name), &spoken);
    if (rc == PAG_EXIT_OK && strcmp(pag_out_text(spoken, "dialect"), "tasmota") == 0) {
        rc = pag_find_all(cli, pag_cli_text(cli, "/devices?product=%s", name), &devices);
        if (rc == PAG_EXIT_OK) {
            (void)json_array_extend(all, devices);
        }
    }
    return rc;
}

static int find_all(struct pag_cli *cli, const struct pag_push_order *o, struct round *round)
{
    json_t *all = pag_cli_keep(cli, json_array());
    json_t *products = NULL;
    json_t *one = NULL;
    size_t i = 0;
    const char *only = pag_opt(cli, "product");
    int rc = only != NULL ? pag_find_product(cli, only, &one) : pag_find_all(cli, "/products", &products);
    if (rc == PAG_EXIT_OK && only != NULL) {
        rc = devices_of(cli, one, all);
    }
    for (; rc == PAG_EXIT_OK && only == NULL && i < json_array_size(products); i++) {
        rc = devices_of(cli, json_array_get(products, i), all);
    }
    round->n = json_array_size(all);
    if (rc == PAG_EXIT_OK && round->n == 0) {
        return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND, "pagurus product dialect NAME tasmota",
                            "no device of a product that speaks Tasmota is known");
    }
    round->task = rc == PAG_EXIT_OK ? pag_cli_alloc(cli, round->n * sizeof *round->task) : NULL;
    for (i = 0; rc == PAG_EXIT_OK && i < round->n; i++) {
        const char *id = pag_out_text(json_array_get(all, i), "id");
        round->task[i] = (struct task){ .o = *o, .device = id, .file = file_for(cli, id) };
        round->task[i].o.host = address_of(cli, id);
    }
    return rc;
}

static int backup_all(struct pag_cli *cli, const struct pag_push_order *o, size_t jobs)
{
    struct round round = { .n = 0 };
    struct pag_fail why = { .code = PAG_OK };
    const char *folder = pag_opt(cli, "output");
    int rc = find_all(cli, o, &round);
    if (rc == PAG_EXIT_OK && folder != NULL && pag_fs_mkdirs(folder, 0700, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, folder, &why);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    pag_lan_catch();
    work_together(&round, jobs);
    return say_round(cli, &round);
}

static int backup_one(struct pag_cli *cli, const struct pag_push_order *o)
{
    struct task t = { .o = *o, .file = pag_opt(cli, "output") };
    int rc = PAG_EXIT_OK;
    t.o.host = pag_word(cli, 0);
    if (t.file == NULL && strchr(t.o.host, '/') != NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus tasmota backup 192.168.1.40", "\"%s\" is no host",
                            t.o.host);
    }
    t.file = t.file != NULL ? t.file : pag_cli_text(cli, "%s.dmp", t.o.host);
    pag_lan_catch();
    save(&t);
    if (wants_password(cli, &t.o, &t.r, &rc)) {
        save(&t);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (t.r.err != PAG_OK) {
        return pag_cli_fail(cli, pag_lan_exit(&t.r), NULL, "%s: %s", t.o.host, t.r.text);
    }
    json_t *row = row_of(cli, &t);
    if (!pag_out_json(cli, row)) {
        pag_cli_say(cli, "%s: configuration of %s, %zu bytes%s\n", t.o.host, pag_out_text(row, "version"),
                    t.bytes, t.dump.damaged != 0 ? "; a driver's part is damaged" : "");
        (void)printf("%s\n", t.file);
    }
    return PAG_EXIT_OK;
}

int pag_cmd_tasmota_backup(struct pag_cli *cli)
{
    struct pag_push_order o;
    uint64_t jobs = 0;
    bool all = pag_opt_on(cli, "all");
    int rc = read_order(cli, &o);
    rc = rc == PAG_EXIT_OK ? pag_opt_number(cli, "jobs", 8, &jobs) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (jobs == 0 || jobs > JOBS_MAX) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "--jobs: 1 to %d", JOBS_MAX);
    }
    if (all == (pag_word(cli, 0) != NULL)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus tasmota backup HOST, or --all",
                            "one host, or all that the server knows");
    }
    return all ? backup_all(cli, &o, (size_t)jobs) : backup_one(cli, &o);
}

/* ---- restore ---- */

struct restore {
    struct pag_cli *cli;
    const char *file;
    struct pag_push_order o;
    struct pag_push_result r;
    struct pag_tasmota_dump dump;
    struct pag_tasmota_info before, after;
    char version[PAG_TASMOTA_VERSION_MAX];
    uint64_t wait_s;
};

static int read_file(struct restore *p)
{
    struct pag_buf raw = { NULL, 0, 0 };
    struct pag_fail why = { .code = PAG_OK };
    const char *no = NULL;
    if (pag_fs_read(p->file, PAG_TASMOTA_FILE_MAX, &raw, &why) != PAG_OK) {
        return pag_cli_fail_file(p->cli, PAG_EXIT_USAGE, p->file, &why);
    }
    uint8_t *copy = pag_cli_alloc(p->cli, raw.n + 1);
    memcpy(copy, raw.p, raw.n);
    p->o.image = pag_span_of(copy, raw.n);
    pag_fs_buf_free(&raw);
    if (pag_tasmota_dump_read(p->o.image, &p->dump, &no) != PAG_OK) {
        return pag_cli_fail(p->cli, PAG_EXIT_USAGE, "take the file as the device gave it", "%s: %s", p->file,
                            no);
    }
    pag_tasmota_number_text(p->dump.version, p->version);
    return PAG_EXIT_OK;
}

/* A configuration of another chip is refused by the device; one of newer firmware is not, and breaks it. */
static int fits(struct restore *p)
{
    const char *host = p->o.host;
    const char *chip = pag_tasmota_chip(p->dump.chip);
    int mine = pag_tasmota_chip_of(p->before.hardware);
    if (chip == NULL || (mine >= 0 && mine != p->dump.chip)) {
        return pag_cli_fail(p->cli, PAG_EXIT_USAGE, "restore a backup of the same kind of device",
                            "%s is of an %s, and %s has an %s", p->file, chip != NULL ? chip : "unknown chip",
                            host, p->before.hardware);
    }
    if (p->dump.version > pag_tasmota_number(p->before.version)) {
        return pag_cli_fail(p->cli, PAG_EXIT_USAGE, "update the device first",
                            "%s was written by %s, and %s runs the older %s", p->file, p->version, host,
                            p->before.version);
    }
    return PAG_EXIT_OK;
}

static int look(struct restore *p)
{
    int rc = PAG_EXIT_OK;
    enum pag_err err = pag_tasmota_ask(&p->o, &p->before, &p->r);
    if (wants_password(p->cli, &p->o, &p->r, &rc)) {
        err = pag_tasmota_ask(&p->o, &p->before, &p->r);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    return err == PAG_OK ? fits(p)
                         : pag_cli_fail(p->cli, pag_lan_exit(&p->r), NULL, "%s: %s", p->o.host, p->r.text);
}

static int come_back(struct restore *p)
{
    if (p->wait_s == 0) {
        return PAG_EXIT_OK;
    }
    enum pag_err err = pag_tasmota_back(&p->o, &p->before, (uint32_t)p->wait_s * 1000, &p->after);
    switch ((int)err) {
    case PAG_OK:
        pag_cli_say(p->cli, "%s is back and runs %s\n", p->o.host, p->after.version);
        return PAG_EXIT_OK;
    case PAG_E_DENIED:
        pag_cli_say(p->cli, "%s is back; its password is that of the backup now\n", p->o.host);
        return PAG_EXIT_OK;
    case PAG_E_CONDITION:
        return PAG_EXIT_INTERRUPTED;
    default:
        return pag_cli_fail(p->cli, PAG_EXIT_TIMEOUT,
                            "look for it where the backup puts it: network and address are those of the file",
                            "%s took the file and has not come back in %u s", p->o.host, (unsigned)p->wait_s);
    }
}

static int give(struct restore *p)
{
    const char *question =
        pag_cli_text(p->cli, "Replace the whole configuration of %s (%s), network and passwords too, by %s?",
                     p->o.host, p->before.version, p->file);
    int rc = pag_prompt_yes(p->cli, "--yes", question);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (p->dump.damaged != 0) {
        pag_cli_warn(p->cli, "%u parts of drivers are damaged; the device leaves them out\n",
                     p->dump.damaged);
    }
    if (pag_tasmota_restore(&p->o, &p->r) != PAG_OK) {
        return pag_cli_fail(p->cli, pag_lan_exit(&p->r), NULL, "%s: %s", p->o.host, p->r.text);
    }
    pag_cli_say(p->cli, "%s has taken it and restarts\n", p->o.host);
    return come_back(p);
}

int pag_cmd_tasmota_restore(struct pag_cli *cli)
{
    struct restore *p = pag_cli_alloc(cli, sizeof *p);
    memset(p, 0, sizeof *p);
    p->cli = cli;
    p->file = pag_word(cli, 1);
    int rc = read_order(cli, &p->o);
    p->o.host = pag_word(cli, 0);
    rc = rc == PAG_EXIT_OK ? pag_opt_seconds(cli, "wait", 60, &p->wait_s) : rc;
    if (rc == PAG_EXIT_OK && p->wait_s > 3600) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "--wait: an hour at most");
    }
    pag_lan_catch();
    rc = rc == PAG_EXIT_OK ? read_file(p) : rc;
    rc = rc == PAG_EXIT_OK ? look(p) : rc;
    rc = rc == PAG_EXIT_OK ? give(p) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *out = pag_cli_keep(cli, json_pack("{s:s, s:s, s:s, s:s, s:s}", "host", p->o.host, "file", p->file,
                                              "version", p->version, "before", p->before.version, "after",
                                              p->after.version));
    if (!pag_out_json(cli, out)) {
        (void)printf("%s\n", p->after.version[0] != '\0' ? p->after.version : "taken");
    }
    return rc;
}
