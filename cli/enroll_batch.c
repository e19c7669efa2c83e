#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/settings.h"
#include "core/bytes.h"
#include "host/csv.h"
#include "host/fs.h"
#include "host/x509.h"

/*
 * A table of devices becomes a folder: one below it for each MAC, with its code, or with its key and
 * certificate. What is there is left as it is, so that the same call goes on where it stopped.
 */

enum { FILE_MAX = 16 << 20, ROWS_MAX = 100000, TAGS_MAX = 255, ERRORS_SHOWN = 20 };

struct entry {
    uint32_t line;
    char mac[13];
    char name[65];
    char tags[TAGS_MAX + 1]; /* comma-separated */
    char serial[41];
    bool kept; /* was there before */
};

struct batch {
    struct pag_cli *cli;
    const char *file, *product, *folder;
    bool certificates, rsa;
    uint64_t ttl_s, days;
    struct entry *entry;
    size_t n, errors, made;
    int mac_at, name_at, tags_at; /* columns, -1: none */
    const char *root;             /* PEM */
};

/* ---- reading ---- */

static void complain(struct batch *b, uint32_t line, const char *what, struct pag_span text)
{
    int n = text.n > 60 ? 60 : (int)text.n;
    if (b->errors++ < ERRORS_SHOWN) {
        (void)pag_cli_fail(b->cli, PAG_EXIT_USAGE, NULL, "%s:%u: %s%s%.*s%s", b->file, (unsigned)line, what,
                           n > 0 ? ": \"" : "", n, n > 0 ? (const char *)text.p : "", n > 0 ? "\"" : "");
    }
}

static struct pag_span cell(const struct pag_csv_row *row, int at)
{
    return at >= 0 && (size_t)at < row->n ? row->field[at] : (struct pag_span){ NULL, 0 };
}

static void read_heading(struct batch *b, const struct pag_csv_row *row)
{
    b->mac_at = b->name_at = b->tags_at = -1;
    for (size_t i = 0; i < row->n; i++) {
        int *at = pag_span_eq_nocase(row->field[i], "mac")    ? &b->mac_at
                  : pag_span_eq_nocase(row->field[i], "name") ? &b->name_at
                  : pag_span_eq_nocase(row->field[i], "tags") ? &b->tags_at
                                                              : NULL;
        if (at == NULL) {
            complain(b, row->line, "no such column (mac, name, tags)", row->field[i]);
        } else if (*at >= 0) {
            complain(b, row->line, "a column twice", row->field[i]);
        } else {
            *at = (int)i;
        }
    }
    if (b->mac_at < 0) {
        complain(b, row->line, "the first line names the columns, and mac must be one of them",
                 (struct pag_span){ NULL, 0 });
    }
}

static bool tag_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == ':';
}

/* "hall pump" or "hall,pump". */
static bool read_tags(struct pag_span text, char out[TAGS_MAX + 1])
{
    size_t n = 0;
    size_t run = 0;
    if (text.n > TAGS_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (c == ' ' || c == ',' || c == ';') {
            run = 0;
            continue;
        }
        if (!tag_byte(c) || ++run > 32) {
            return false;
        }
        if (run == 1 && n > 0) {
            out[n++] = ',';
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

static void read_entry(struct batch *b, const struct pag_csv_row *row)
{
    struct entry *e = &b->entry[b->n];
    memset(e, 0, sizeof *e);
    e->line = row->line;
    size_t before = b->errors;
    if (pag_mac_text(cell(row, b->mac_at), e->mac) != PAG_OK) {
        complain(b, row->line, "no MAC, which is twelve hex digits", cell(row, b->mac_at));
    }
    struct pag_span name = cell(row, b->name_at);
    if (!pag_utf8_ok(name) || pag_text_copy(e->name, sizeof e->name, name) != PAG_OK) {
        complain(b, row->line, "a name has at most 64 bytes of UTF-8", name);
    }
    if (!read_tags(cell(row, b->tags_at), e->tags)) {
        complain(b, row->line, "tags are of a-z, 0-9 and -_.:, at most 32 bytes each and 255 together",
                 cell(row, b->tags_at));
    }
    b->n += before == b->errors ? 1 : 0;
}

static int by_mac(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    int order = strcmp(x->mac, y->mac);
    return order != 0 ? order : x->line < y->line ? -1 : 1;
}

static int by_line(const void *a, const void *b)
{
    return ((const struct entry *)a)->line < ((const struct entry *)b)->line ? -1 : 1;
}

static void find_doubles(struct batch *b)
{
    qsort(b->entry, b->n, sizeof *b->entry, by_mac);
    for (size_t i = 1; i < b->n; i++) {
        if (strcmp(b->entry[i].mac, b->entry[i - 1].mac) == 0) {
            complain(b, b->entry[i].line,
                     pag_cli_text(b->cli, "the MAC of line %u again", (unsigned)b->entry[i - 1].line),
                     pag_span_str(b->entry[i].mac));
        }
    }
    qsort(b->entry, b->n, sizeof *b->entry, by_line);
}

static void read_rows(struct batch *b, struct pag_span text)
{
    struct pag_csv csv;
    struct pag_csv_row *row = pag_cli_alloc(b->cli, sizeof *row);
    bool heading = true;
    pag_csv_open(&csv, text);
    for (;;) {
        struct pag_fail why = { PAG_OK, "", 0 };
        enum pag_err err = pag_csv_next(&csv, row, &why);
        if (err == PAG_E_NOT_FOUND) {
            break;
        }
        if (err != PAG_OK) {
            complain(b, row->line, why.what, (struct pag_span){ NULL, 0 });
        } else if (heading) {
            read_heading(b, row);
        } else if (b->n == ROWS_MAX) {
            complain(b, row->line, "more than 100000 devices", (struct pag_span){ NULL, 0 });
            break;
        } else {
            read_entry(b, row);
        }
        if (heading && b->errors > 0) {
            break;
        }
        heading = false;
    }
    find_doubles(b);
}

static int read_file(struct batch *b)
{
    struct pag_buf text = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    if (pag_fs_read(b->file, FILE_MAX, &text, &why) != PAG_OK) {
        return pag_cli_fail_file(b->cli, PAG_EXIT_FAILED, b->file, &why);
    }
    b->entry = calloc(ROWS_MAX, sizeof *b->entry);
    if (b->entry != NULL) {
        read_rows(b, (struct pag_span){ text.p, text.n });
    }
    pag_fs_buf_free(&text);
    if (b->entry == NULL || b->errors > 0) {
        return pag_cli_fail(b->cli, PAG_EXIT_USAGE, "correct the lines and give the same command again",
                            "%s: %zu mistake(s), nothing was done", b->file, b->errors);
    }
    return b->n > 0 ? PAG_EXIT_OK
                    : pag_cli_fail(b->cli, PAG_EXIT_USAGE, "a line mac,name,tags and one line a device",
                                   "%s lists no device", b->file);
}

/* ---- one device ---- */

static const char *path_of(struct batch *b, const struct entry *e, const char *name)
{
    return pag_cli_text(b->cli, "%s/%s/%s", b->folder, e->mac, name);
}

static int write_file(struct batch *b, const char *path, struct pag_span data, uint32_t mode)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    return pag_fs_write(path, data, mode, &why) == PAG_OK
               ? PAG_EXIT_OK
               : pag_cli_fail_file(b->cli, PAG_EXIT_FAILED, path, &why);
}

/* The order that names the device; members of the two calls alike. */
static json_t *order_of(struct batch *b, const struct entry *e)
{
    json_t *body = pag_cli_keep(b->cli, json_pack("{s:s}", "product", b->product));
    if (e->name[0] != '\0') {
        (void)json_object_set_new(body, "name", json_string(e->name));
    }
    json_t *tags = json_array();
    for (const char *at = e->tags; *at != '\0';) {
        size_t n = strcspn(at, ",");
        (void)json_array_append_new(tags, json_stringn(at, n));
        at += n + (at[n] == ',' ? 1 : 0);
    }
    (void)json_object_set_new(body, "tags", tags);
    return body;
}

static int make_code(struct batch *b, struct entry *e)
{
    json_t *reply = NULL;
    json_t *body = order_of(b, e);
    (void)json_object_set_new(body, "mac", json_string(e->mac));
    (void)json_object_set_new(body, "uses", json_integer(1));
    (void)json_object_set_new(body, "ttl_s", json_integer((json_int_t)b->ttl_s));
    int rc = pag_client_send(b->cli, "POST", "/enrollment/codes", body, &reply);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *text = pag_cli_text(b->cli, "%s\n", pag_out_text(reply, "code"));
    return write_file(b, path_of(b, e, "claim"), pag_span_str(text), 0600);
}

/* The key of an earlier, broken run is taken again. */
static int own_key(struct batch *b, const struct entry *e, EVP_PKEY **key)
{
    const char *path = path_of(b, e, "device.key");
    struct pag_buf pem = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    if (pag_fs_exists(path)) {
        enum pag_err err = pag_fs_read(path, FILE_MAX, &pem, &why);
        err =
            err == PAG_OK ? pag_x509_private_of_pem((struct pag_span){ pem.p, pem.n }, NULL, key, &why) : err;
        pag_fs_buf_free(&pem);
        return err == PAG_OK ? PAG_EXIT_OK : pag_cli_fail_file(b->cli, PAG_EXIT_FAILED, path, &why);
    }
    *key = pag_x509_key_new(b->rsa);
    if (*key == NULL || pag_x509_key_pem(*key, NULL, &pem) != PAG_OK) {
        return pag_cli_fail(b->cli, PAG_EXIT_FAILED, NULL, "cannot make a key");
    }
    int rc = write_file(b, path, (struct pag_span){ pem.p, pem.n }, 0600);
    pag_fs_buf_free(&pem);
    return rc;
}

static int ask_certificate(struct batch *b, struct entry *e, const EVP_PKEY *key, json_t **reply)
{
    struct pag_buf der = { pag_cli_alloc(b->cli, 4096), 0, 4096 };
    struct pag_buf pem = { pag_cli_alloc(b->cli, 8192), 0, 8191 };
    if (pag_x509_csr_make(key, e->mac, &der) != PAG_OK ||
        pag_x509_pem_of_der("CERTIFICATE REQUEST", (struct pag_span){ der.p, der.n }, &pem) != PAG_OK) {
        return pag_cli_fail(b->cli, PAG_EXIT_FAILED, NULL, "cannot make a certificate request");
    }
    json_t *body = order_of(b, e);
    (void)json_object_set_new(body, "device_id", json_string(e->mac));
    (void)json_object_set_new(body, "csr", json_stringn((const char *)pem.p, pem.n));
    if (b->days > 0) {
        (void)json_object_set_new(body, "days", json_integer((json_int_t)b->days));
    }
    return pag_client_send(b->cli, "POST", "/ca/issue", body, reply);
}

static int make_certificate(struct batch *b, struct entry *e)
{
    EVP_PKEY *key = NULL;
    json_t *reply = NULL;
    int rc = own_key(b, e, &key);
    rc = rc == PAG_EXIT_OK ? ask_certificate(b, e, key, &reply) : rc;
    pag_x509_key_free(key);
    rc = rc == PAG_EXIT_OK ? write_file(b, path_of(b, e, "ca.crt"), pag_span_str(b->root), 0644) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    (void)pag_text_copy(e->serial, sizeof e->serial, pag_span_str(pag_out_text(reply, "serial")));
    /* Last: whoever finds it finds the rest too. */
    return write_file(b, path_of(b, e, "device.crt"), pag_span_str(pag_out_text(reply, "certificate")), 0644);
}

static int make_one(struct batch *b, struct entry *e)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *folder = pag_cli_text(b->cli, "%s/%s", b->folder, e->mac);
    if (pag_fs_exists(path_of(b, e, b->certificates ? "device.crt" : "claim"))) {
        e->kept = true;
        return PAG_EXIT_OK;
    }
    if (pag_fs_mkdirs(folder, 0700, &why) != PAG_OK) {
        return pag_cli_fail_file(b->cli, PAG_EXIT_FAILED, folder, &why);
    }
    int rc = b->certificates ? make_certificate(b, e) : make_code(b, e);
    if (rc != PAG_EXIT_OK) {
        (void)pag_cli_fail(b->cli, rc, "what was made stays: give the same command again to go on",
                           "%s:%u: device %s was not made", b->file, (unsigned)e->line, e->mac);
    }
    b->made += rc == PAG_EXIT_OK ? 1 : 0;
    return rc;
}

/* ---- all ---- */

static int fetch_root(struct batch *b)
{
    struct pag_answer a;
    struct pag_call call = { .method = "GET", .path = "/ca/root.pem", .no_token = true };
    int rc = pag_client_call(b->cli, &call, &a);
    if (rc == PAG_EXIT_OK) {
        b->root = pag_cli_text(b->cli, "%.*s", (int)a.body.n, (const char *)a.body.p);
    }
    return rc;
}

static int show(struct batch *b)
{
    json_t *items = json_array();
    for (size_t i = 0; i < b->n; i++) {
        const struct entry *e = &b->entry[i];
        (void)json_array_append_new(items,
                                    json_pack("{s:s, s:s, s:s, s:s}", "mac", e->mac, "name", e->name, "made",
                                              e->kept           ? "kept"
                                              : b->certificates ? "certificate"
                                                                : "code",
                                              "folder", pag_cli_text(b->cli, "%s/%s", b->folder, e->mac)));
    }
    json_t *reply =
        pag_cli_keep(b->cli, json_pack("{s:o, s:I, s:I}", "devices", items, "made", (json_int_t)b->made,
                                       "kept", (json_int_t)(b->n - b->made)));
    if (!pag_out_json(b->cli, reply)) {
        pag_cli_say(b->cli, "%s: %zu made, %zu were there before\n", b->folder, b->made, b->n - b->made);
    }
    return PAG_EXIT_OK;
}

static int read_options(struct batch *b)
{
    struct pag_cli *cli = b->cli;
    json_t *product = NULL;
    b->file = pag_word(cli, 0);
    b->product = pag_conf_default(cli, "product");
    b->folder = pag_opt(cli, "output");
    b->certificates = pag_opt_on(cli, "certificates");
    b->rsa = pag_opt_on(cli, "rsa");
    if (b->product == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus product list shows them", "--product is missing");
    }
    if (b->folder == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--output FOLDER, with a folder below it for each device",
                            "--output is missing");
    }
    if (b->rsa && !b->certificates) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--certificates --rsa",
                            "--rsa is about keys made here, and without --certificates none are");
    }
    int rc = pag_opt_seconds(cli, "ttl", 30ULL * 86400, &b->ttl_s);
    rc = rc == PAG_EXIT_OK ? pag_opt_number(cli, "days", 0, &b->days) : rc;
    rc = rc == PAG_EXIT_OK ? read_file(b) : rc;
    rc = rc == PAG_EXIT_OK ? pag_find_product(cli, b->product, &product) : rc;
    return rc == PAG_EXIT_OK ? fetch_root(b) : rc;
}

int pag_cmd_enroll_batch(struct pag_cli *cli)
{
    struct batch b = { .cli = cli };
    int rc = read_options(&b);
    for (size_t i = 0; rc == PAG_EXIT_OK && i < b.n; i++) {
        struct pag_arena *outer = pag_cli_round_begin(cli);
        rc = make_one(&b, &b.entry[i]);
        pag_cli_round_end(cli, outer);
    }
    rc = rc == PAG_EXIT_OK ? show(&b) : rc;
    free(b.entry);
    return rc;
}
