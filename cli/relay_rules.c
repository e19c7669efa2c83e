#include "cli/relay_rules.h"

#include <ini.h>
#include <string.h>

#include "cli/text.h"
#include "core/bytes.h"
#include "host/fs.h"

struct reader {
    struct pag_cli *cli;
    struct pag_relay_rules *rules;
    const char *file;
    const char *bad; /* NULL: fine so far */
    bool secret;
};

static struct pag_relay_rule *rule_named(struct reader *r, const char *section)
{
    static const char mark[] = "device ";
    const char *pattern = section + sizeof mark - 1;
    if (strncmp(section, mark, sizeof mark - 1) != 0 || pattern[0] == '\0') {
        r->bad = "sections are [device NAME], where NAME may hold * and ?";
        return NULL;
    }
    struct pag_relay_rules *rules = r->rules;
    if (rules->n > 0 && strcmp(rules->rule[rules->n - 1].pattern, pattern) == 0) {
        return &rules->rule[rules->n - 1];
    }
    if (rules->n == PAG_RELAY_RULES_MAX) {
        r->bad = "more than 512 sections";
        return NULL;
    }
    struct pag_relay_rule *rule = &rules->rule[rules->n++];
    rule->pattern = pag_cli_text(r->cli, "%s", pattern);
    return rule;
}

/* "192.168.1.40:3232", "lamp.local", "lamp". */
static const char *take_address(struct reader *r, struct pag_relay_rule *rule, const char *value)
{
    struct pag_span s = pag_span_str(value);
    size_t colon = pag_span_find(s, 0, ':');
    uint32_t port = 0;
    if (colon < s.n && pag_span_find(s, colon + 1, ':') == s.n) {
        if (pag_parse_u32((struct pag_span){ s.p + colon + 1, s.n - colon - 1 }, &port) != PAG_OK ||
            port == 0 || port > 65535) {
            return "the port of an address is 1 to 65535";
        }
        s.n = colon;
    }
    if (s.n == 0 || s.n >= PAG_MDNS_ADDRESS) {
        return "an address is HOST or HOST:PORT";
    }
    rule->port = (uint16_t)port;
    rule->address = pag_cli_text(r->cli, "%.*s", (int)s.n, value);
    return NULL;
}

static const char *take(struct reader *r, struct pag_relay_rule *rule, const char *key, const char *value)
{
    if (strcmp(key, "product") == 0) {
        rule->product = pag_cli_text(r->cli, "%s", value);
    } else if (strcmp(key, "protocol") == 0) {
        rule->has_protocol = true;
        return pag_push_by_word(value, &rule->protocol) == PAG_OK
                   ? NULL
                   : "protocol is espota, esphome, web or wled";
    } else if (strcmp(key, "address") == 0) {
        return take_address(r, rule, value);
    } else if (strcmp(key, "user") == 0) {
        rule->user = pag_cli_text(r->cli, "%s", value);
    } else if (strcmp(key, "password") == 0) {
        r->secret = true;
        rule->password = pag_cli_text(r->cli, "%s", value);
    } else if (strcmp(key, "path") == 0) {
        rule->path = pag_cli_text(r->cli, "%s", value);
    } else {
        return "keys are product, protocol, address, user, password and path";
    }
    return NULL;
}

static int on_key(void *ctx, const char *section, const char *key, const char *value)
{
    struct reader *r = ctx;
    struct pag_relay_rule *rule = r->bad == NULL ? rule_named(r, section) : NULL;
    if (rule != NULL) {
        r->bad = take(r, rule, key, value);
    }
    return r->bad == NULL ? 1 : 0;
}

static int check(struct pag_cli *cli, const char *file, const struct pag_relay_rules *rules)
{
    for (size_t i = 0; i < rules->n; i++) {
        const struct pag_relay_rule *rule = &rules->rule[i];
        if (rule->address != NULL && (!rule->has_protocol || strpbrk(rule->pattern, "*?") != NULL)) {
            return pag_cli_fail(
                cli, PAG_EXIT_USAGE, NULL,
                "%s: [device %s] has an address: it needs a protocol, and a name without * and ?", file,
                rule->pattern);
        }
    }
    return PAG_EXIT_OK;
}

int pag_relay_rules_read(struct pag_cli *cli, const char *file, struct pag_relay_rules *out)
{
    struct reader r = { .cli = cli, .rules = out, .file = file };
    memset(out, 0, sizeof *out);
    if (file == NULL) {
        return PAG_EXIT_OK;
    }
    out->rule = pag_cli_alloc(cli, PAG_RELAY_RULES_MAX * sizeof *out->rule);
    memset(out->rule, 0, PAG_RELAY_RULES_MAX * sizeof *out->rule);
    int line = ini_parse(file, on_key, &r);
    if (line < 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "check the path", "%s cannot be read", file);
    }
    if (line > 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "%s:%d: %s", file, line,
                            r.bad != NULL ? r.bad : "not of the form key = value");
    }
    if (r.secret && pag_fs_private(file, NULL) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "chmod 600 %s", file),
                            "%s holds passwords and others can read it", file);
    }
    return check(cli, file, out);
}

const struct pag_relay_rule *pag_relay_rule_of(const struct pag_relay_rules *rules,
                                               const struct pag_mdns_found *f, const char *id)
{
    for (size_t i = 0; i < rules->n; i++) {
        const struct pag_relay_rule *r = &rules->rule[i];
        bool named = pag_relay_matches(r->pattern, f->name) || pag_relay_matches(r->pattern, f->host) ||
                     pag_relay_matches(r->pattern, id) || pag_relay_matches(r->pattern, f->address);
        if (named && (!r->has_protocol || r->protocol == f->protocol)) {
            return r;
        }
    }
    return NULL;
}

static enum pag_err look_rules(void *ctx, uint32_t ms, struct pag_mdns_found *list, size_t *n, size_t max)
{
    const struct pag_relay_rules *rules = ctx;
    (void)ms;
    for (size_t i = 0; i < rules->n && *n < max; i++) {
        const struct pag_relay_rule *r = &rules->rule[i];
        if (r->address != NULL) {
            struct pag_mdns_found *f = &list[(*n)++];
            memset(f, 0, sizeof *f);
            f->protocol = r->protocol;
            f->port = r->port;
            (void)snprintf(f->name, sizeof f->name, "%s", r->pattern);
            (void)snprintf(f->host, sizeof f->host, "%s", r->pattern);
            (void)snprintf(f->address, sizeof f->address, "%s", r->address);
        }
    }
    return PAG_OK;
}

const struct pag_relay_source pag_relay_source_rules = { "rules", look_rules, NULL };
