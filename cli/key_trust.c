#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/prompt.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "cli/trust.h"
#include "core/bytes.h"
#include "host/crypto.h"
#include "host/fs.h"

enum { EPOCH_MAX = 1 << 16 };

/* ---- building ---- */

static int public_into(struct pag_cli *cli, const char *name, struct pag_trust_key *out)
{
    struct pag_key key;
    int rc = pag_key_public(cli, name, &key);
    if (rc == PAG_EXIT_OK) {
        memset(out, 0, sizeof *out);
        memcpy(out->id, key.id, sizeof out->id);
        memcpy(out->point, key.point, sizeof out->point);
        pag_key_close(&key);
    }
    return rc;
}

static bool listed(const struct pag_trust_key *list, size_t n, const uint8_t id[PAG_KEY_ID_BYTES])
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(list[i].id, id, PAG_KEY_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static int full(struct pag_cli *cli, const char *what, int most)
{
    return pag_cli_fail(cli, PAG_EXIT_USAGE, "drop one first", "a trust set holds at most %d %s keys", most,
                        what);
}

int pag_trust_add_root(struct pag_cli *cli, struct pag_trust_set *set, const char *name)
{
    struct pag_trust_key key;
    int rc = public_into(cli, name, &key);
    if (rc != PAG_EXIT_OK || listed(set->root, set->root_n, key.id)) {
        return rc;
    }
    if (set->root_n == PAG_TRUST_ROOTS_MAX) {
        return full(cli, "root", PAG_TRUST_ROOTS_MAX);
    }
    set->root[set->root_n++] = key;
    return rc;
}

int pag_trust_add_release(struct pag_cli *cli, struct pag_trust_set *set, const char *name)
{
    struct pag_trust_key key;
    int rc = public_into(cli, name, &key);
    if (rc != PAG_EXIT_OK || listed(set->release, set->release_n, key.id)) {
        return rc;
    }
    if (set->release_n == PAG_TRUST_KEYS_MAX) {
        return full(cli, "release", PAG_TRUST_KEYS_MAX);
    }
    key.kinds = PAG_TRUST_KINDS;
    key.epoch_max = EPOCH_MAX;
    set->release[set->release_n++] = key;
    return rc;
}

int pag_trust_set_freshness(struct pag_cli *cli, struct pag_trust_set *set)
{
    json_t *reply = NULL;
    struct pag_trust_key key;
    int rc = pag_client_get(cli, "/freshness-key", &reply);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    memset(&key, 0, sizeof key);
    if (pag_parse_hex(pag_span_str(pag_out_text(reply, "point")), key.point, sizeof key.point) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, "client and server must be of one version: pagurus doctor",
                            "the server's freshness key is not 128 hex digits");
    }
    pag_key_id(pag_crypto_openssl(), key.point, key.id);
    set->freshness_n = 1;
    set->freshness[0] = key;
    return PAG_EXIT_OK;
}

typedef int (*add_fn)(struct pag_cli *cli, struct pag_trust_set *set, const char *name);

/* Each value of a repeatable flag may be a list with commas. */
static int add_list(struct pag_cli *cli, const char *flag, struct pag_trust_set *set, add_fn add)
{
    int rc = PAG_EXIT_OK;
    for (size_t i = 0; pag_opt_at(cli, flag, i) != NULL; i++) {
        const char *p = pag_opt_at(cli, flag, i);
        while (rc == PAG_EXIT_OK && *p != 0) {
            size_t n = strcspn(p, ",");
            rc = add(cli, set, pag_cli_text(cli, "%.*s", (int)n, p));
            p += n + (p[n] == ',');
        }
    }
    return rc;
}

/* name: local key or 16 hex digits of an id that is in the list. */
static int drop(struct pag_cli *cli, struct pag_trust_key *list, uint8_t *n, const char *name)
{
    uint8_t id[PAG_KEY_ID_BYTES];
    if (pag_parse_hex(pag_span_str(name), id, sizeof id) != PAG_OK) {
        struct pag_trust_key key;
        int rc = public_into(cli, name, &key);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        memcpy(id, key.id, sizeof id);
    }
    for (size_t i = 0; i < *n; i++) {
        if (memcmp(list[i].id, id, sizeof id) == 0) {
            memmove(list + i, list + i + 1, (*n - i - 1) * sizeof *list);
            (*n)--;
            return PAG_EXIT_OK;
        }
    }
    return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND, "pagurus key trust show lists them",
                        "%s is not in the trust set", name);
}

static int drop_root(struct pag_cli *cli, struct pag_trust_set *set, const char *name)
{
    return drop(cli, set->root, &set->root_n, name);
}

static int drop_release(struct pag_cli *cli, struct pag_trust_set *set, const char *name)
{
    return drop(cli, set->release, &set->release_n, name);
}

static int set_limits(struct pag_cli *cli, struct pag_trust_set *set)
{
    uint64_t roots = 0;
    uint64_t expires_s = 0;
    int rc = pag_opt_number(cli, "threshold", set->root_threshold, &roots);
    if (rc == PAG_EXIT_OK) {
        rc = pag_opt_seconds(cli, "expires", 0, &expires_s);
    }
    if (rc == PAG_EXIT_OK && (roots < 1 || roots > set->root_n)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            pag_cli_text(cli, "--threshold 1 to %u", (unsigned)set->root_n),
                            "%llu of %u roots cannot sign", (unsigned long long)roots, (unsigned)set->root_n);
    }
    set->root_threshold = (uint8_t)roots;
    if (expires_s != 0) {
        set->expires_at = cli->clock.now_unix_ms(cli->clock.ctx) / 1000 + expires_s;
    }
    return rc;
}

/* ---- saying ---- */

static json_t *key_rows(struct pag_cli *cli, const struct pag_trust_key *list, size_t n, const char *role,
                        json_t *rows)
{
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_pack("{s:s, s:s}", "role", role, "key_id", pag_key_id_text(cli, list[i].id));
        if (list[i].kinds != 0) {
            (void)json_object_set_new(row, "kinds", json_integer(list[i].kinds));
            (void)json_object_set_new(row, "epoch_min", json_integer(list[i].epoch_min));
            (void)json_object_set_new(row, "epoch_max", json_integer(list[i].epoch_max));
        }
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *view_json(struct pag_cli *cli, const struct pag_trust_view *v)
{
    const struct pag_trust_set *t = &v->set;
    char digest[65];
    char product[2 * PAG_PRODUCT_ID_BYTES + 1];
    json_t *rows = json_array();
    pag_text_hex(pag_span_of(v->digest, sizeof v->digest), digest);
    pag_text_hex(pag_span_of(t->product, sizeof t->product), product);
    (void)key_rows(cli, t->root, t->root_n, "root", rows);
    (void)key_rows(cli, t->release, t->release_n, "release", rows);
    (void)key_rows(cli, t->delta, t->delta_n, "delta", rows);
    (void)key_rows(cli, t->freshness, t->freshness_n, "freshness", rows);
    return pag_cli_keep(cli, json_pack("{s:i, s:s, s:s, s:i, s:i, s:I, s:I, s:o}", "version", (int)t->version,
                                       "product_id", product, "sha256", digest, "root_threshold",
                                       (int)t->root_threshold, "release_threshold", (int)t->release_threshold,
                                       "bytes", (json_int_t)v->bytes.n, "expires_at",
                                       (json_int_t)t->expires_at, "keys", rows));
}

static const struct pag_column key_columns[] = {
    { "ROLE", "role", PAG_CELL_TEXT },    { "KEY ID", "key_id", PAG_CELL_TEXT },
    { "KINDS", "kinds", PAG_CELL_TEXT },  { "EPOCHS FROM", "epoch_min", PAG_CELL_TEXT },
    { "TO", "epoch_max", PAG_CELL_TEXT }, { NULL, NULL, PAG_CELL_TEXT },
};

static int show(struct pag_cli *cli, const struct pag_trust_view *v)
{
    json_t *j = view_json(cli, v);
    if (pag_out_json(cli, j)) {
        return PAG_EXIT_OK;
    }
    pag_cli_say(cli, "trust set %u, %u of %u roots, sha256 %s\n", (unsigned)v->set.version,
                (unsigned)v->set.root_threshold, (unsigned)v->set.root_n, pag_out_text(j, "sha256"));
    return pag_out_items(cli, json_object_get(j, "keys"), key_columns);
}

static int need_product(struct pag_cli *cli, json_t **product)
{
    const char *name = pag_conf_default(cli, "product");
    if (name == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus product list shows them", "--product is missing");
    }
    return pag_find_product(cli, name, product);
}

/* ---- verbs ---- */

int pag_trust_first(struct pag_cli *cli, const json_t *product, const char *root, const char *release,
                    struct pag_trust_view *out)
{
    struct pag_trust_set *set = pag_cli_alloc(cli, sizeof *set);
    set->version = 1;
    set->root_threshold = 1;
    set->release_threshold = 1;
    int rc = pag_find_product_id(cli, product, set->product);
    if (rc == PAG_EXIT_OK) {
        rc = pag_trust_add_root(cli, set, root);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_trust_add_release(cli, set, release);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_trust_set_freshness(cli, set);
    }
    return rc == PAG_EXIT_OK ? pag_trust_sign(cli, product, NULL, set, out) : rc;
}

static int build_first(struct pag_cli *cli, const json_t *product, struct pag_trust_set *set)
{
    set->version = 1;
    set->root_threshold = 1;
    set->release_threshold = 1;
    int rc = pag_find_product_id(cli, product, set->product);
    if (rc == PAG_EXIT_OK) {
        rc = add_list(cli, "root", set, pag_trust_add_root);
    }
    if (rc == PAG_EXIT_OK) {
        rc = add_list(cli, "release", set, pag_trust_add_release);
    }
    if (rc == PAG_EXIT_OK && (set->root_n == 0 || set->release_n == 0)) {
        rc = pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus key generate makes a key",
                          "want --root K and --release K");
    }
    if (rc == PAG_EXIT_OK) {
        rc = set_limits(cli, set);
    }
    return rc == PAG_EXIT_OK ? pag_trust_set_freshness(cli, set) : rc;
}

int pag_cmd_trust_create(struct pag_cli *cli)
{
    json_t *product = NULL;
    struct pag_trust_view *v = pag_cli_alloc(cli, sizeof *v);
    struct pag_trust_set *set = pag_cli_alloc(cli, sizeof *set);
    int rc = need_product(cli, &product);
    if (rc == PAG_EXIT_OK && pag_out_number(product, "trust_version") > 0) {
        rc = pag_cli_fail(cli, PAG_EXIT_CONFLICT, "pagurus key trust rotate changes it",
                          "%s has a trust set already", pag_out_text(product, "name"));
    }
    if (rc == PAG_EXIT_OK) {
        rc = build_first(cli, product, set);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_trust_sign(cli, product, NULL, set, v);
    }
    return rc == PAG_EXIT_OK ? show(cli, v) : rc;
}

static int of_file(struct pag_cli *cli, const char *file, struct pag_trust_view *v)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    if (pag_fs_read(file, PAG_TRUST_MAX, &buf, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    uint8_t *copy = pag_cli_alloc(cli, buf.n + 1);
    memcpy(copy, buf.p, buf.n);
    v->bytes = pag_span_of(copy, buf.n);
    pag_fs_buf_free(&buf);
    pag_sha256_of(pag_crypto_openssl(), v->bytes, v->digest);
    if (pag_trust_parse(v->bytes, &v->set, &why) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "%s is no trust set: %s", file, why.what);
    }
    return PAG_EXIT_OK;
}

int pag_cmd_trust_show(struct pag_cli *cli)
{
    struct pag_trust_view *v = pag_cli_alloc(cli, sizeof *v);
    const char *what = pag_word(cli, 0);
    json_t *product = NULL;
    if (what != NULL && strchr(what, '.') != NULL && pag_fs_exists(what)) {
        int rc = of_file(cli, what, v);
        return rc == PAG_EXIT_OK ? show(cli, v) : rc;
    }
    int rc = what != NULL ? pag_find_product(cli, what, &product) : need_product(cli, &product);
    if (rc == PAG_EXIT_OK) {
        rc = pag_trust_load(cli, product, v);
        if (rc == PAG_EXIT_NOT_FOUND) {
            return pag_cli_fail(cli, rc,
                                pag_cli_text(cli,
                                             "pagurus key trust create --product %s --root R --release K",
                                             pag_out_text(product, "name")),
                                "%s has no trust set yet", pag_out_text(product, "name"));
        }
    }
    return rc == PAG_EXIT_OK ? show(cli, v) : rc;
}

static int change(struct pag_cli *cli, struct pag_trust_set *set)
{
    int rc = add_list(cli, "add-root", set, pag_trust_add_root);
    if (rc == PAG_EXIT_OK) {
        rc = add_list(cli, "drop-root", set, drop_root);
    }
    if (rc == PAG_EXIT_OK) {
        rc = add_list(cli, "add-release", set, pag_trust_add_release);
    }
    if (rc == PAG_EXIT_OK) {
        rc = add_list(cli, "drop-release", set, drop_release);
    }
    if (rc == PAG_EXIT_OK && pag_opt_on(cli, "freshness")) {
        rc = pag_trust_set_freshness(cli, set);
    }
    return rc == PAG_EXIT_OK ? set_limits(cli, set) : rc;
}

int pag_cmd_trust_rotate(struct pag_cli *cli)
{
    json_t *product = NULL;
    struct pag_trust_view *old = pag_cli_alloc(cli, sizeof *old);
    struct pag_trust_view *v = pag_cli_alloc(cli, sizeof *v);
    struct pag_trust_set *set = pag_cli_alloc(cli, sizeof *set);
    int rc = need_product(cli, &product);
    if (rc == PAG_EXIT_OK) {
        rc = pag_trust_load(cli, product, old);
        rc = rc != PAG_EXIT_NOT_FOUND
                 ? rc
                 : pag_cli_fail(cli, rc, "pagurus key trust create", "there is no trust set to change");
    }
    if (rc == PAG_EXIT_OK && old->seen_first) {
        /* What is signed here names the set before it: it must be the right one. */
        rc = pag_prompt_yes(cli, "--yes", "Is that the set you know? The roots will vouch for it.");
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    *set = old->set;
    set->version++;
    memcpy(set->previous, old->digest, sizeof set->previous);
    rc = change(cli, set);
    if (rc == PAG_EXIT_OK) {
        rc = pag_trust_sign(cli, product, old, set, v);
    }
    return rc == PAG_EXIT_OK ? show(cli, v) : rc;
}

int pag_cmd_trust_push(struct pag_cli *cli)
{
    json_t *product = NULL;
    struct pag_answer a;
    struct pag_trust_view *v = pag_cli_alloc(cli, sizeof *v);
    int rc = of_file(cli, pag_word(cli, 0), v);
    if (rc == PAG_EXIT_OK) {
        rc = need_product(cli, &product);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    struct pag_call call = { .method = "PUT", .raw = v->bytes, .type = "application/cose" };
    call.path = pag_cli_text(cli, "/products/%s/trust-sets/%u",
                             pag_client_escape(cli, pag_out_text(product, "name")), (unsigned)v->set.version);
    rc = pag_client_call(cli, &call, &a);
    return rc == PAG_EXIT_OK ? show(cli, v) : rc;
}
