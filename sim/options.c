#include "sim/options.h"

#include <getopt.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image.h"
#include "core/trust.h"
#include "sim/options_check.h"
#include "sim/saved.h"

enum { FILE_MAX_BYTES = 16 << 20, DEVICES_MAX = 100000 };

enum option_key {
    OPT_SERVER = 256,
    OPT_CA,
    OPT_TRUST_SET,
    OPT_TRUST_PIN,
    OPT_PRODUCT,
    OPT_PRODUCT_ID,
    OPT_HARDWARE,
    OPT_CHIP,
    OPT_CLAIM,
    OPT_IMAGE,
    OPT_SLOT,
    OPT_DEVICES,
    OPT_DEVICES_FILE,
    OPT_LEGACY,
    OPT_LEGACY_URL,
    OPT_PLAIN_URL,
    OPT_MQTT_URL,
    OPT_MQTT_USERS,
    OPT_PERSONALITY,
    OPT_LIST,
    OPT_VERIFY_KEY,
    OPT_FAST,
    OPT_TARGET,
    OPT_FAULTS,
    OPT_PROFILE,
    OPT_POLL,
    OPT_READING,
    OPT_SECONDS,
    OPT_UNTIL,
    OPT_THREADS,
    OPT_SEED,
    OPT_REPORT,
    OPT_REPORT_FILE,
    OPT_VERBOSE,
    OPT_HELP,
};

static const struct option known[] = {
    { "server", required_argument, NULL, OPT_SERVER },
    { "ca", required_argument, NULL, OPT_CA },
    { "trust-set", required_argument, NULL, OPT_TRUST_SET },
    { "trust-pin", required_argument, NULL, OPT_TRUST_PIN },
    { "product", required_argument, NULL, OPT_PRODUCT },
    { "product-id", required_argument, NULL, OPT_PRODUCT_ID },
    { "hardware", required_argument, NULL, OPT_HARDWARE },
    { "chip", required_argument, NULL, OPT_CHIP },
    { "claim-code", required_argument, NULL, OPT_CLAIM },
    { "image", required_argument, NULL, OPT_IMAGE },
    { "slot-bytes", required_argument, NULL, OPT_SLOT },
    { "devices", required_argument, NULL, OPT_DEVICES },
    { "devices-file", required_argument, NULL, OPT_DEVICES_FILE },
    { "legacy", required_argument, NULL, OPT_LEGACY },
    { "legacy-url", required_argument, NULL, OPT_LEGACY_URL },
    { "plain-url", required_argument, NULL, OPT_PLAIN_URL },
    { "mqtt-url", required_argument, NULL, OPT_MQTT_URL },
    { "mqtt-users", required_argument, NULL, OPT_MQTT_USERS },
    { "personality", required_argument, NULL, OPT_PERSONALITY },
    { "list-personalities", no_argument, NULL, OPT_LIST },
    { "verify-key", required_argument, NULL, OPT_VERIFY_KEY },
    { "fast", no_argument, NULL, OPT_FAST },
    { "target", required_argument, NULL, OPT_TARGET },
    { "faults", required_argument, NULL, OPT_FAULTS },
    { "profile", required_argument, NULL, OPT_PROFILE },
    { "poll", required_argument, NULL, OPT_POLL },
    { "reading-ms", required_argument, NULL, OPT_READING },
    { "seconds", required_argument, NULL, OPT_SECONDS },
    { "until", required_argument, NULL, OPT_UNTIL },
    { "threads", required_argument, NULL, OPT_THREADS },
    { "seed", required_argument, NULL, OPT_SEED },
    { "report", required_argument, NULL, OPT_REPORT },
    { "report-file", required_argument, NULL, OPT_REPORT_FILE },
    { "verbose", no_argument, NULL, OPT_VERBOSE },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

static const char usage[] =
    "usage: pagurus-sim run --server https://HOST:8444 --ca root.pem --product NAME --claim-code CODE "
    "--image v1.bin\n"
    "  --image FILE           what the devices were flashed with (ESP8266 with an identity block, or "
    "ESP32);\n"
    "                         again and again: the devices have them in turn, those for their chip\n"
    "  --trust-set FILE       first trust set of the product, or --trust-pin HEX: its SHA-256; without "
    "either\n"
    "                         native devices refuse every update\n"
    "  --product-id HEX       8 bytes; default: of the trust set\n"
    "  --hardware ID          default d1mini\n"
    "  --chip NAME            default esp8266\n"
    "  --slot-bytes N         default 524288\n"
    "  --devices N            default 10, or as many as personalities say; the rest is native\n"
    "  --personality NAME[:N][@PATH]   N devices (1) of that client, asking below PATH; again and again\n"
    "  --list-personalities   and what they stand for\n"
    "  --legacy M             the same as --personality esp8266-3.0:M\n"
    "  --legacy-url URL       where those ask; default: SERVER with a certificate; http:// is plain and "
    "without one\n"
    "  --plain-url URL        where those ask that can speak plain HTTP only\n"
    "  --mqtt-url URL         mqtt://HOST:PORT of the listener with passwords; mqtts:// with TLS\n"
    "  --mqtt-users FILE      lines of MAC USER PASSWORD TOPIC, for the devices that need them, in turn\n"
    "  --verify-key FILE      public key (PEM) by which detached signatures are checked\n"
    "  --fast                 flash and restarts take a twentieth of their time\n"
    "  --devices-file FILE    keeps the devices between runs: key, certificate, flash, fault; made when "
    "there\n"
    "                         is none, else the fleet is the one in it, and the claim code is not needed\n"
    "  --faults LIST          WORD=N or WORD=N%, with commas between; of native devices:\n"
    "                           power-cut   the power fails in its first download; confirms all the same\n"
    "                           corrupt     a bit of its first download is flipped; confirms all the same\n"
    "                           crash       the new image crashes or fails its self-test; goes back\n"
    "                           foreign     its certificate is of another authority; is denied\n"
    "                           untrusted   trusts another release key; refuses\n"
    "                           wrong-chip  is another chip than it told the server; refuses\n"
    "                           ahead       has run a later release: stays, and refuses what a replay "
    "offers\n"
    "                         of ESP8266httpUpdate devices:\n"
    "                           loop        comes back with the old image every time; goes back\n"
    "                         of any that is not native:\n"
    "                           clock       believes that it is 1970 at first; confirms all the same\n"
    "                           full        has no room for another sketch; stays\n"
    "                           link-loss   its first download breaks off; confirms all the same\n"
    "                           eboot-cut   the power fails while the image is copied; is dead\n"
    "  --profile NAME         quick (poll 5 s, reading 1.25 s), normal (300 s, 5 s), sleepy (3600 s, 60 s)\n"
    "  --poll S --reading-ms N   instead of the profile's\n"
    "  --seconds S            end after so long, default 120\n"
    "  --until confirmed      end as soon as every device came to what its fault allows, and still sends "
    "readings\n"
    "  --target VERSION       and that is only this version\n"
    "  --threads N            default 1\n"
    "  --seed N               default 1: MACs, faults and moments are those of the seed\n"
    "  --report json          one JSON object at the end; --report-file FILE: there, not on standard output\n"
    "  --verbose              what each agent logs, on standard error\n"
    "exit: 0 all as expected (or no --until), 1 not in time, 2 bad usage, 3 cannot start, 4 no device got "
    "through to the server\n";

static enum pag_err read_file(const char *path, struct pag_buf *out, FILE *say)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)fprintf(say, "pagurus-sim: cannot open %s\n", path);
        return PAG_E_IO;
    }
    out->p = malloc(FILE_MAX_BYTES);
    out->cap = FILE_MAX_BYTES;
    out->n = out->p != NULL ? fread(out->p, 1, FILE_MAX_BYTES, file) : 0;
    const bool ok = out->n > 0 && out->n < FILE_MAX_BYTES && ferror(file) == 0;
    (void)fclose(file);
    if (!ok) {
        (void)fprintf(say, "pagurus-sim: %s is empty, too large or cannot be read\n", path);
        return PAG_E_IO;
    }
    uint8_t *fit = realloc(out->p, out->n);
    out->p = fit != NULL ? fit : out->p;
    out->cap = out->n;
    return PAG_OK;
}

/* scheme://host:port, port and path optional. rest: from the '/' on. */
static enum pag_err parse_url(const char *text, const char *scheme, char host[64], uint16_t *port,
                              const char **rest)
{
    const size_t skip = strlen(scheme);
    if (strncmp(text, scheme, skip) != 0) {
        return PAG_E_SYNTAX;
    }
    struct pag_span s = pag_span_str(text + skip);
    const size_t path = pag_span_find(s, 0, '/');
    *rest = text + skip + path;
    s.n = path;
    const size_t colon = pag_span_find(s, 0, ':');
    uint32_t number = *port;
    if (colon < s.n && (pag_parse_u32(pag_span_of(s.p + colon + 1, s.n - colon - 1), &number) != PAG_OK ||
                        number == 0 || number > UINT16_MAX)) {
        return PAG_E_SYNTAX;
    }
    *port = (uint16_t)number;
    return colon > 0 ? pag_text_copy(host, 64, pag_span_of(s.p, colon)) : PAG_E_SYNTAX;
}

static enum pag_err number_to(const char *text, uint32_t low, uint32_t high, uint32_t *out)
{
    uint32_t n = 0;
    if (pag_parse_u32(pag_span_str(text), &n) != PAG_OK || n < low || n > high) {
        return PAG_E_SYNTAX;
    }
    *out = n;
    return PAG_OK;
}

static const struct profile {
    const char *name;
    uint32_t poll_s, reading_ms, jitter_s, backoff_s, trial_s, status_s;
} profiles[] = {
    { "quick", 5, 1250, 1, 1, 60, 10 }, /* 0.9 messages a second: limits.device_messages is 1 */
    { "normal", 300, 5000, 300, 60, 600, 60 },
    { "sleepy", 3600, 60000, 300, 60, 600, 600 },
};

static enum pag_err take_profile(struct pag_sim_options *o, const char *name)
{
    for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
        const struct profile *p = &profiles[i];
        if (strcmp(p->name, name) == 0) {
            o->poll_s = p->poll_s;
            o->reading_ms = p->reading_ms;
            o->jitter_s = p->jitter_s;
            o->backoff_s = p->backoff_s;
            o->trial_s = p->trial_s;
            o->status_s = p->status_s;
            return PAG_OK;
        }
    }
    return PAG_E_SYNTAX;
}

static enum pag_err take_trust_set(struct pag_sim_options *o, const char *path, FILE *say)
{
    struct pag_buf set = { 0 };
    enum pag_err err = read_file(path, &set, say);
    struct pag_trust_set parsed;
    if (err == PAG_OK) {
        err = pag_trust_parse(pag_span_of(set.p, set.n), &parsed, NULL);
    }
    if (err == PAG_OK) {
        memcpy(o->product_id, parsed.product, sizeof(o->product_id));
    }
    if (err == PAG_OK && EVP_Digest(set.p, set.n, o->pin, NULL, EVP_sha256(), NULL) != 1) {
        err = PAG_E_NO_MEMORY;
    }
    free(set.p);
    o->has_pin = err == PAG_OK;
    return err;
}

static enum pag_err take_place(struct pag_sim_place *p, const char *url)
{
    p->plain = strncmp(url, "http://", 7) == 0;
    p->port = p->plain ? 80 : 443;
    const enum pag_err err = parse_url(url, p->plain ? "http://" : "https://", p->host, &p->port, &p->path);
    p->path = p->path != NULL && p->path[0] != '\0' ? p->path : NULL;
    return err;
}

static enum pag_err take_mqtt(struct pag_sim_options *o, const char *url)
{
    enum { PLAIN = 1883, TLS = 8884 };
    const char *rest = "";
    o->mqtt_at.plain = strncmp(url, "mqtt://", 7) == 0;
    o->mqtt_at.port = o->mqtt_at.plain ? PLAIN : TLS;
    return parse_url(url, o->mqtt_at.plain ? "mqtt://" : "mqtts://", o->mqtt_at.host, &o->mqtt_at.port,
                     &rest);
}

/* The next word of a line, moved past. */
static enum pag_err take_word(struct pag_span *line, char *out, size_t cap)
{
    const size_t blank = pag_span_find(*line, 0, ' ');
    const enum pag_err err = blank > 0 ? pag_text_copy(out, cap, pag_span_of(line->p, blank)) : PAG_E_SYNTAX;
    const size_t used = blank < line->n ? blank + 1 : blank;
    *line = pag_span_of(line->p + used, line->n - used);
    return err;
}

static enum pag_err take_user(struct pag_span line, struct pag_sim_user *u)
{
    uint8_t mac[6];
    enum pag_err err = take_word(&line, u->mac, sizeof(u->mac));
    err = err == PAG_OK ? pag_parse_hex(pag_span_str(u->mac), mac, sizeof(mac)) : err;
    err = err == PAG_OK ? take_word(&line, u->name, sizeof(u->name)) : err;
    err = err == PAG_OK ? take_word(&line, u->password, sizeof(u->password)) : err;
    return err == PAG_OK ? take_word(&line, u->topic, sizeof(u->topic)) : err;
}

/* Lines of "MAC USER PASSWORD TOPIC". */
static enum pag_err take_users(struct pag_sim_options *o, const char *path, FILE *say)
{
    struct pag_buf text = { 0 };
    enum pag_err err = read_file(path, &text, say);
    const struct pag_span all = pag_span_of(text.p, text.n);
    for (size_t at = 0; err == PAG_OK && at < all.n;) {
        const size_t end = pag_span_find(all, at, '\n');
        struct pag_sim_user *more = realloc(o->mqtt_user, (o->mqtt_user_n + 1) * sizeof(*more));
        err = more != NULL ? take_user(pag_span_of(all.p + at, end - at), &more[o->mqtt_user_n])
                           : PAG_E_NO_MEMORY;
        o->mqtt_user = more != NULL ? more : o->mqtt_user;
        o->mqtt_user_n += err == PAG_OK ? 1 : 0;
        at = end + 1;
    }
    free(text.p);
    return err;
}

/* NAME[:N][@PATH] */
static enum pag_err take_personality(struct pag_sim_options *o, const char *text)
{
    struct pag_span s = pag_span_str(text);
    const size_t at = pag_span_find(s, 0, '@');
    struct pag_sim_group g = { .n = 1, .path = at < s.n ? text + at + 1 : NULL };
    s.n = at;
    const size_t colon = pag_span_find(s, 0, ':');
    if (colon < s.n && (pag_parse_u32(pag_span_of(s.p + colon + 1, s.n - colon - 1), &g.n) != PAG_OK ||
                        g.n == 0 || g.n > DEVICES_MAX)) {
        return PAG_E_SYNTAX;
    }
    g.who = pag_sim_personality_find(pag_span_of(s.p, colon));
    if (g.who == NULL || o->group_n == PAG_SIM_GROUPS_MAX ||
        (g.path != NULL && (g.path[0] != '/' || strlen(g.path) > PAG_SIM_SAVED_PATH_MAX))) {
        return PAG_E_SYNTAX;
    }
    o->group[o->group_n++] = g;
    return PAG_OK;
}

static enum pag_err take_image(struct pag_sim_options *o, const char *path, FILE *say)
{
    return o->image_n < PAG_SIM_IMAGES_MAX ? read_file(path, &o->image[o->image_n++].bytes, say)
                                           : PAG_E_SYNTAX;
}

static enum pag_err take_number(struct pag_sim_options *o, int key, const char *value)
{
    switch (key) {
    case OPT_SLOT:
        return number_to(value, 2 * PAG_SIM_SECTOR, 16 << 20, &o->slot_bytes);
    case OPT_DEVICES:
        return number_to(value, 1, DEVICES_MAX, &o->devices);
    case OPT_LEGACY:
        return number_to(value, 0, DEVICES_MAX, &o->legacy);
    case OPT_POLL:
        return number_to(value, 1, 86400, &o->poll_s);
    case OPT_READING:
        return number_to(value, 100, 86400000, &o->reading_ms);
    case OPT_SECONDS:
        return number_to(value, 1, 7 * 86400, &o->seconds);
    case OPT_THREADS:
        return number_to(value, 1, 64, &o->threads);
    case OPT_SEED:
        return number_to(value, 0, UINT32_MAX, &o->seed);
    default:
        return PAG_E_NOT_FOUND;
    }
}

/* How it runs. */
static enum pag_err take_run(struct pag_sim_options *o, int key, const char *value, struct pag_sim_words *w)
{
    switch (key) {
    case OPT_DEVICES_FILE:
        o->devices_file = value;
        return PAG_OK;
    case OPT_FAULTS:
        w->faults = value;
        return PAG_OK;
    case OPT_PROFILE:
        return take_profile(o, value);
    case OPT_UNTIL:
        o->until_settled = true;
        return strcmp(value, "confirmed") == 0 ? PAG_OK : PAG_E_SYNTAX;
    case OPT_VERBOSE:
        o->verbose = true;
        return PAG_OK;
    case OPT_REPORT:
        o->json = true;
        return strcmp(value, "json") == 0 ? PAG_OK : PAG_E_SYNTAX;
    case OPT_REPORT_FILE:
        o->json = true;
        o->report = value;
        return PAG_OK;
    default:
        w->counts_given = w->counts_given || key == OPT_DEVICES || key == OPT_LEGACY;
        return take_number(o, key, value);
    }
}

static enum pag_err take_server(struct pag_sim_options *o, int key, const char *value,
                                struct pag_sim_words *w)
{
    const char *rest = "";
    switch (key) {
    case OPT_SERVER:
        return parse_url(value, "https://", o->host, &o->port, &rest);
    case OPT_CA:
        return read_file(value, &o->ca, w->say);
    case OPT_TRUST_SET:
        return take_trust_set(o, value, w->say);
    case OPT_TRUST_PIN:
        o->has_pin = true;
        return pag_parse_hex(pag_span_str(value), o->pin, sizeof(o->pin));
    case OPT_PRODUCT:
        o->product = value;
        return PAG_OK;
    case OPT_PRODUCT_ID:
        return pag_parse_hex(pag_span_str(value), o->product_id, sizeof(o->product_id));
    case OPT_HARDWARE:
        w->hardware = value;
        return PAG_OK;
    case OPT_CHIP:
        o->chip = (uint8_t)pag_chip_by_name(pag_span_str(value));
        return o->chip != PAG_CHIP_UNKNOWN ? PAG_OK : PAG_E_SYNTAX;
    case OPT_CLAIM:
        o->claim = value;
        return PAG_OK;
    case OPT_IMAGE:
        return take_image(o, value, w->say);
    case OPT_VERIFY_KEY:
        return read_file(value, &o->verify_key, w->say);
    case OPT_FAST:
        o->faster = PAG_SIM_FASTER;
        return PAG_OK;
    case OPT_TARGET:
        o->target = value;
        return PAG_OK;
    default:
        return take_run(o, key, value, w);
    }
}

static enum pag_err take_text(struct pag_sim_options *o, int key, const char *value, struct pag_sim_words *w)
{
    switch (key) {
    case OPT_LEGACY_URL:
        return take_place(&o->legacy_at, value);
    case OPT_PLAIN_URL:
        return take_place(&o->plain, value);
    case OPT_MQTT_URL:
        return take_mqtt(o, value);
    case OPT_MQTT_USERS:
        return take_users(o, value, w->say);
    case OPT_PERSONALITY:
        w->counts_given = true;
        return take_personality(o, value);
    default:
        return take_server(o, key, value, w);
    }
}

enum pag_err pag_sim_options_parse(struct pag_sim_options *o, int argc, char **argv, FILE *say)
{
    *o = (struct pag_sim_options){ .port = 8444,
                                   .chip = PAG_CHIP_ESP8266,
                                   .slot_bytes = 524288,
                                   .faster = 1,
                                   .seconds = 120,
                                   .threads = 1,
                                   .seed = 1 };
    struct pag_sim_words w = { .faults = "", .hardware = "d1mini", .say = say };
    (void)take_profile(o, "normal");
    optind = 1;
    opterr = 0;
    for (int key = 0; (key = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (key == OPT_HELP) {
            (void)fputs(usage, say);
            return PAG_E_NOT_FOUND;
        }
        if (key == OPT_LIST) {
            pag_sim_personality_list(stdout);
            return PAG_E_NOT_FOUND;
        }
        if (key == '?' || take_text(o, key, optarg, &w) != PAG_OK) {
            (void)fprintf(say, "pagurus-sim: do not understand %s\n", argv[optind - 1]);
            return PAG_E_CONFIG;
        }
    }
    if (optind < argc) {
        (void)fprintf(say, "pagurus-sim: one word too many\n");
        return PAG_E_CONFIG;
    }
    return pag_sim_options_check(o, &w);
}

void pag_sim_options_free(struct pag_sim_options *o)
{
    free(o->ca.p);
    for (uint32_t i = 0; i < o->image_n; i++) {
        free(o->image[i].bytes.p);
    }
    free(o->verify_key.p);
    free(o->client_fault);
    free(o->mqtt_user);
    if (o->saved != NULL) {
        pag_sim_saved_free(o->saved);
        free(o->saved);
    }
    *o = (struct pag_sim_options){ 0 };
}
