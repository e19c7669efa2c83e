#include "cli/find.h"

#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/text.h"
#include "core/bytes.h"

enum { NAMES_MAX = 256, PAGES_MAX = 10 };

static int get_silent(struct pag_cli *cli, const char *path, struct pag_answer *a)
{
    struct pag_call call = { .method = "GET", .path = path, .silent = true };
    return pag_client_call(cli, &call, a);
}

/* Says the error of a silent call that was not "not found". */
static int say_again(struct pag_cli *cli, const char *path, const struct pag_answer *a, int rc)
{
    struct pag_call call = { .method = "GET", .path = path };
    if (a->status != 0) {
        return pag_problem_say(cli, &call, a);
    }
    if (a->curl == 0) {
        return rc; /* said already: no server, no token */
    }
    return pag_unreached_say(cli, &call, a, rc);
}

/* *found: the object at path, NULL when there is none. Not PAG_EXIT_OK has been said. */
static int get_one(struct pag_cli *cli, const char *path, json_t **found)
{
    struct pag_answer a;
    int rc = get_silent(cli, path, &a);
    *found = rc == PAG_EXIT_OK ? a.json : NULL;
    return *found != NULL || a.status == 404 ? PAG_EXIT_OK : say_again(cli, path, &a, rc);
}

int pag_find_all(struct pag_cli *cli, const char *path, json_t **items)
{
    json_t *all = pag_cli_keep(cli, json_array());
    const char *cursor = NULL;
    for (unsigned page = 0; page < PAGES_MAX; page++) {
        json_t *reply = NULL;
        const char *url = pag_cli_text(cli, "%s%slimit=1000%s%s", path, strchr(path, '?') != NULL ? "&" : "?",
                                       cursor != NULL ? "&cursor=" : "",
                                       cursor != NULL ? pag_client_escape(cli, cursor) : "");
        int rc = pag_client_get(cli, url, &reply);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        (void)json_array_extend(all, json_object_get(reply, "items"));
        cursor = json_string_value(json_object_get(reply, "next_cursor"));
        if (cursor == NULL) {
            break;
        }
    }
    *items = all;
    return PAG_EXIT_OK;
}

static const char *nearest_of(const json_t *items, const char *text, const char *a, const char *b)
{
    const char *names[NAMES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(items) && n + 2 <= NAMES_MAX; i++) {
        const json_t *item = json_array_get(items, i);
        names[n++] = pag_out_text(item, a);
        names[n++] = pag_out_text(item, b);
    }
    return pag_text_nearest(text, names, n);
}

static const char *in_context(struct pag_cli *cli)
{
    return cli->set.context[0] != 0 ? pag_cli_text(cli, " in context %s", cli->set.context) : "";
}

static int no_such(struct pag_cli *cli, const char *noun, const char *text, const char *near)
{
    const char *fix = near != NULL ? pag_cli_text(cli, "did you mean %s?", near)
                                   : pag_cli_text(cli, "pagurus %s list shows them", noun);
    return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND, fix, "no %s \"%s\"%s", noun, text, in_context(cli));
}

static int several(struct pag_cli *cli, const char *noun, const char *text, const json_t *items)
{
    const char *list = "";
    for (size_t i = 0; i < json_array_size(items) && i < 5; i++) {
        list = pag_cli_text(cli, "%s%s%s", list, i > 0 ? ", " : "",
                            pag_out_text(json_array_get(items, i), "id"));
    }
    return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "one of: %s", list),
                        "\"%s\" means more than one %s", text, noun);
}

int pag_find_device(struct pag_cli *cli, const char *text, json_t **device)
{
    int rc = get_one(cli, pag_cli_text(cli, "/devices/%s", pag_client_escape(cli, text)), device);
    if (rc != PAG_EXIT_OK || *device != NULL) {
        return rc;
    }
    json_t *reply = NULL;
    rc =
        pag_client_get(cli, pag_cli_text(cli, "/devices?limit=6&q=%s", pag_client_escape(cli, text)), &reply);
    json_t *items = json_object_get(reply, "items");
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (json_array_size(items) == 1) {
        *device = json_array_get(items, 0);
        return PAG_EXIT_OK;
    }
    if (json_array_size(items) > 1) {
        return several(cli, "device", text, items);
    }
    /* The nearest among those that begin alike. */
    int half = (int)(strlen(text) / 2);
    rc = pag_client_get(cli,
                        pag_cli_text(cli, "/devices?limit=100&q=%s",
                                     pag_client_escape(cli, pag_cli_text(cli, "%.*s", half, text))),
                        &reply);
    items = json_object_get(reply, "items");
    return rc != PAG_EXIT_OK ? rc : no_such(cli, "device", text, nearest_of(items, text, "id", "name"));
}

int pag_find_product(struct pag_cli *cli, const char *name, json_t **product)
{
    int rc = get_one(cli, pag_cli_text(cli, "/products/%s", pag_client_escape(cli, name)), product);
    if (rc != PAG_EXIT_OK || *product != NULL) {
        return rc;
    }
    json_t *items = NULL;
    rc = pag_find_all(cli, "/products", &items);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *near = nearest_of(items, name, "name", "id");
    const char *fix = near != NULL ? pag_cli_text(cli, "did you mean %s?", near)
                                   : pag_cli_text(cli, "pagurus product create %s --chip esp8266", name);
    return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND, fix, "no product \"%s\"%s", name, in_context(cli));
}

int pag_find_product_id(struct pag_cli *cli, const json_t *product, uint8_t id[PAG_PRODUCT_ID_BYTES])
{
    const char *text = pag_out_text(product, "id");
    if (strncmp(text, "prd_", 4) != 0 ||
        pag_parse_hex(pag_span_str(text + 4), id, PAG_PRODUCT_ID_BYTES) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, "client and server must be of one version: pagurus doctor",
                            "the product's id \"%s\" is not prd_ and 16 hex digits", text);
    }
    return PAG_EXIT_OK;
}

int pag_find_release(struct pag_cli *cli, const char *text, json_t **release)
{
    const char *product = pag_opt(cli, "product");
    if (strncmp(text, "rel_", 4) == 0) {
        int rc = get_one(cli, pag_cli_text(cli, "/releases/%s", pag_client_escape(cli, text)), release);
        if (rc != PAG_EXIT_OK || *release != NULL) {
            return rc;
        }
    }
    json_t *items = NULL;
    const char *list = product == NULL
                           ? "/releases"
                           : pag_cli_text(cli, "/releases?product=%s", pag_client_escape(cli, product));
    int rc = pag_find_all(cli, list, &items);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *hits = pag_cli_keep(cli, json_array());
    size_t i = 0;
    json_t *item = NULL;
    bool id = strncmp(text, "rel_", 4) == 0 && strlen(text) > 4;
    json_array_foreach(items, i, item)
    {
        if (strcmp(pag_out_text(item, "version"), text) == 0 ||
            (id && strncmp(pag_out_text(item, "id"), text, strlen(text)) == 0)) {
            (void)json_array_append(hits, item);
        }
    }
    if (json_array_size(hits) == 1) {
        *release = json_array_get(hits, 0);
        return PAG_EXIT_OK;
    }
    return json_array_size(hits) == 0
               ? no_such(cli, "release", text, nearest_of(items, text, "version", "id"))
               : several(cli, "release", text, hits);
}

const json_t *pag_find_image(const json_t *release, const char *name)
{
    const json_t *list = json_object_get(release, "images");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(pag_out_text(json_array_get(list, i), "name"), name) == 0) {
            return json_array_get(list, i);
        }
    }
    return NULL;
}
