#include "relay/source.h"

#include <string.h>

#include "core/bytes.h"

static enum pag_err look_mdns(void *ctx, uint32_t ms, struct pag_mdns_found *list, size_t *n, size_t max)
{
    struct pag_mdns_list *found = pag_mdns_list_new();
    enum pag_err err = found == NULL ? PAG_E_NO_MEMORY : pag_mdns_browse(ctx, ms, found);
    for (size_t i = 0; err == PAG_OK && i < found->n && *n < max; i++) {
        list[(*n)++] = found->item[i];
    }
    pag_mdns_list_free(found);
    return err;
}

const struct pag_relay_source pag_relay_source_mdns = { "mdns", look_mdns, NULL };

static bool is_known(const struct pag_mdns_found *list, size_t n, const struct pag_mdns_found *f)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].protocol == f->protocol && list[i].port == f->port &&
            strcmp(list[i].address, f->address) == 0) {
            return true;
        }
    }
    return false;
}

/* What one source has added behind n, without what others have named before. */
static size_t merge(struct pag_mdns_found *list, size_t n, size_t to)
{
    size_t kept = n;
    for (size_t k = n; k < to; k++) {
        if (!is_known(list, kept, &list[k])) {
            list[kept++] = list[k];
        }
    }
    return kept;
}

size_t pag_relay_look(const struct pag_relay_source *source, size_t source_n, uint32_t ms,
                      struct pag_mdns_found *list, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < source_n; i++) {
        size_t to = n;
        (void)source[i].look(source[i].ctx, ms, list, &to, max);
        n = merge(list, n, to);
    }
    return n;
}

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

void pag_relay_id(const struct pag_mdns_found *f, char out[PAG_DEVICE_ID_MAX + 1])
{
    const char *name = f->mac[0] != '\0' ? f->mac : f->host[0] != '\0' ? f->host : f->name;
    size_t n = 0;
    for (const char *p = name; *p != '\0' && n < PAG_DEVICE_ID_MAX; p++) {
        int c = lower(*p);
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (plain) {
            out[n++] = (char)c;
        } else if (n > 0 && out[n - 1] != '-') {
            out[n++] = '-';
        }
    }
    while (n > 0 && out[n - 1] == '-') {
        n--;
    }
    out[n] = '\0';
}

bool pag_relay_matches(const char *pattern, const char *text)
{
    const char *star = NULL;
    const char *back = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            back = text;
        } else if (*pattern == '?' || (*pattern != '\0' && lower(*pattern) == lower(*text))) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++back;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}
