#include "sim/options_check.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/saved.h"

enum { DEVICES_DEFAULT = 10 };

static enum pag_err complain(FILE *say, const char *what)
{
    (void)fprintf(say, "pagurus-sim: %s\n", what);
    return PAG_E_CONFIG;
}

/* The fleet in --devices-file, if there is one. */
static enum pag_err take_saved(struct pag_sim_options *o, const struct pag_sim_words *w)
{
    struct pag_fail why = { 0 };
    struct pag_sim_saved *saved = calloc(1, sizeof(*saved));
    if (saved == NULL) {
        return PAG_E_NO_MEMORY;
    }
    const enum pag_err err = pag_sim_saved_read(o->devices_file, saved, &why);
    if (err != PAG_OK) {
        free(saved);
        if (err != PAG_E_NOT_FOUND) {
            (void)fprintf(w->say, "pagurus-sim: %s %s\n", o->devices_file, why.what);
        }
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    o->saved = saved;
    if (w->faults[0] != '\0') {
        return complain(w->say,
                        "the devices in --devices-file keep the faults they have: leave --faults out");
    }
    uint32_t clients = o->legacy;
    for (uint32_t i = 0; i < o->group_n; i++) {
        clients += o->group[i].who->family != PAG_SIM_F_NATIVE ? o->group[i].n : 0;
    }
    if (w->counts_given &&
        ((o->devices != 0 && o->devices != saved->device_n) || clients != saved->legacy_n)) {
        (void)fprintf(w->say,
                      "pagurus-sim: %s holds %u devices, %u of them legacy: say the same or leave it out\n",
                      o->devices_file, (unsigned)saved->device_n, (unsigned)saved->legacy_n);
        return PAG_E_CONFIG;
    }
    if (o->slot_bytes != saved->slot_bytes ||
        memcmp(o->product_id, saved->product_id, sizeof(o->product_id)) != 0) {
        return complain(w->say, "the devices in --devices-file are of another product or --slot-bytes");
    }
    o->devices = saved->device_n;
    o->legacy = saved->legacy_n;
    return PAG_OK;
}

/* limits.device_messages of a server that was told nothing else, a second and device. */
enum { SERVER_TAKES = 1 };

/* Readings and status of a device in so many milliseconds; a server drops what is over its limit. */
static void say_rate(const struct pag_sim_options *o, FILE *say)
{
    const double rate = 1000.0 / o->reading_ms + (o->status_s > 0 ? 1.0 / o->status_s : 0.0);
    if (rate > SERVER_TAKES) {
        (void)fprintf(say,
                      "pagurus-sim: each device sends %.1f messages a second; a server takes %d unless its "
                      "limits.device_messages says more, and drops the rest\n",
                      rate, SERVER_TAKES);
    }
}

/* Groups, natives and the number of all. */
static enum pag_err count(struct pag_sim_options *o, FILE *say)
{
    if (o->saved != NULL) {
        return PAG_OK;
    }
    uint32_t natives = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->group_n; i++) {
        if (o->group[i].who->family == PAG_SIM_F_NATIVE) {
            natives += o->group[i].n;
            o->group[i--] = o->group[--o->group_n];
        } else {
            n += o->group[i].n;
        }
    }
    if (o->legacy > 0 && o->group_n < PAG_SIM_GROUPS_MAX) {
        o->group[o->group_n++] =
            (struct pag_sim_group){ pag_sim_personality_find(pag_span_str("esp8266-3.0")), o->legacy, NULL };
        n += o->legacy;
    }
    o->devices = o->devices == 0 ? (natives + n > 0 ? natives + n : DEVICES_DEFAULT) : o->devices;
    o->legacy = n;
    if (natives + n > o->devices) {
        return complain(say, "--devices is less than the personalities and --legacy together");
    }
    return PAG_OK;
}

const struct pag_sim_group *pag_sim_group_of(const struct pag_sim_options *o, uint32_t i)
{
    uint32_t g = 0;
    while (g + 1 < o->group_n && i >= o->group[g].n) {
        i -= o->group[g++].n;
    }
    return &o->group[g];
}

static bool asks_plainly(const struct pag_sim_options *o, const struct pag_sim_personality *who)
{
    return (who->plain_only && o->plain.host[0] != '\0') || o->legacy_at.plain;
}

/* n times that fault, to the first devices that can have it and have none. False: there are not so many. */
static bool deal_fault(struct pag_sim_options *o, enum pag_sim_fault fault, uint32_t n)
{
    for (uint32_t i = 0; i < o->legacy && n > 0; i++) {
        const struct pag_sim_personality *who = pag_sim_group_of(o, i)->who;
        if (o->client_fault[i] == PAG_SIM_FAULT_NONE &&
            pag_sim_fault_fits(fault, who, asks_plainly(o, who))) {
            o->client_fault[i] = (uint8_t)fault;
            n--;
        }
    }
    return n == 0;
}

static enum pag_err deal_faults(struct pag_sim_options *o)
{
    o->client_fault = calloc(o->legacy + 1U, 1);
    if (o->client_fault == NULL) {
        return PAG_E_NO_MEMORY;
    }
    for (int f = PAG_SIM_LOOP; f < PAG_SIM_FAULT_COUNT; f++) {
        if (!deal_fault(o, (enum pag_sim_fault)f, o->fault[f])) {
            return PAG_E_RANGE;
        }
    }
    return PAG_OK;
}

static uint32_t users_wanted(const struct pag_sim_options *o)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->group_n; i++) {
        n += o->group[i].who->family == PAG_SIM_F_TASMOTA ? o->group[i].n : 0;
    }
    return n;
}

const struct pag_sim_user *pag_sim_user_of(const struct pag_sim_options *o, uint32_t i)
{
    uint32_t before = 0;
    for (uint32_t g = 0; g < o->group_n; g++) {
        const bool uses = o->group[g].who->family == PAG_SIM_F_TASMOTA;
        if (i < o->group[g].n) {
            return uses && before + i < o->mqtt_user_n ? &o->mqtt_user[before + i] : NULL;
        }
        i -= o->group[g].n;
        before += uses ? o->group[g].n : 0;
    }
    return NULL;
}

/* Something that a personality needs and has not got; NULL: nothing. */
static const char *missing(const struct pag_sim_options *o, const struct pag_sim_personality *who)
{
    bool has_image = false;
    for (uint32_t i = 0; i < o->image_n; i++) {
        has_image = has_image || o->image[i].sketch.esp32 == who->esp32;
    }
    if (!has_image) {
        return "needs an --image for its chip";
    }
    if (who->plain_only && !asks_plainly(o, who)) {
        return "can only speak plain HTTP: --plain-url http://HOST:8080";
    }
    if (who->family == PAG_SIM_F_TASMOTA &&
        (o->mqtt_at.host[0] == '\0' || o->mqtt_user_n < users_wanted(o))) {
        return "is told over MQTT with a password: --mqtt-url, and --mqtt-users with a line for each";
    }
    if (who->family == PAG_SIM_F_SECUREESP && (o->claim == NULL || o->legacy_at.plain)) {
        return "needs a certificate: --claim-code, and a server with TLS";
    }
    return who->family == PAG_SIM_F_DETACHED && o->verify_key.n == 0 ? "needs --verify-key" : NULL;
}

static enum pag_err check_groups(const struct pag_sim_options *o, FILE *say)
{
    for (uint32_t i = 0; o->saved == NULL && i < o->group_n; i++) {
        const char *what = missing(o, o->group[i].who);
        if (what != NULL) {
            (void)fprintf(say, "pagurus-sim: %s %s\n", o->group[i].who->name, what);
            return PAG_E_CONFIG;
        }
    }
    return PAG_OK;
}

static enum pag_err check_image(struct pag_sim_options *o, struct pag_sim_flashed *image, FILE *say)
{
    if (pag_sim_sketch_of(pag_span_of(image->bytes.p, image->bytes.n), &image->sketch) != PAG_OK) {
        return complain(
            say, "the image is not an ESP8266 .bin with a loader at 0 and an application at 0x1000, nor "
                 "one for an ESP32");
    }
    if (image->sketch.version[0] == '\0') {
        return complain(say, "the image has no identity block, so that its version cannot be told");
    }
    if (image->bytes.n + PAG_SIM_SECTOR > o->slot_bytes || o->slot_bytes % PAG_SIM_SECTOR != 0) {
        return complain(say, "the image does not fit --slot-bytes, which are whole sectors of 4096");
    }
    return PAG_OK;
}

static enum pag_err check_images(struct pag_sim_options *o, FILE *say)
{
    enum pag_err err = PAG_OK;
    bool for_native = false;
    for (uint32_t i = 0; i < o->image_n && err == PAG_OK; i++) {
        err = check_image(o, &o->image[i], say);
        for_native = for_native || !o->image[i].sketch.esp32;
    }
    if (err == PAG_OK && o->saved == NULL && o->devices > o->legacy && !for_native) {
        return complain(say, "native devices need an --image for the ESP8266");
    }
    return err;
}

static enum pag_err check_places(struct pag_sim_options *o, FILE *say)
{
    static const uint8_t none[PAG_PRODUCT_ID_BYTES];
    /* Needs neither server nor authority. */
    const bool alone = o->legacy == o->devices && (o->legacy_at.plain || o->plain.host[0] != '\0');
    if (o->product == NULL || o->image_n == 0 || (!alone && (o->host[0] == '\0' || o->ca.n == 0))) {
        return complain(say, "--server, --ca, --product and --image are needed; --help lists all");
    }
    if (o->devices > o->legacy && memcmp(o->product_id, none, sizeof(none)) == 0) {
        return complain(say, "native devices need --trust-set or --product-id");
    }
    if (o->legacy_at.host[0] == '\0') {
        memcpy(o->legacy_at.host, o->host, sizeof(o->host));
        o->legacy_at.port = o->port;
    }
    return PAG_OK;
}

enum pag_err pag_sim_options_check(struct pag_sim_options *o, const struct pag_sim_words *w)
{
    enum pag_err err = o->devices_file != NULL ? take_saved(o, w) : PAG_OK;
    err = err == PAG_OK ? count(o, w->say) : err;
    err = err == PAG_OK ? check_places(o, w->say) : err;
    err = err == PAG_OK ? check_images(o, w->say) : err;
    err = err == PAG_OK ? check_groups(o, w->say) : err;
    if (err != PAG_OK) {
        return err;
    }
    if (o->saved == NULL &&
        (pag_sim_faults_parse(w->faults, o->devices - o->legacy, o->legacy, o->fault) != PAG_OK ||
         deal_faults(o) != PAG_OK)) {
        return complain(
            w->say, "--faults: unknown word, bad number, or more than there are devices that can have it");
    }
    const size_t hardware_n = strlen(w->hardware);
    if (hardware_n < 4 || hardware_n > PAG_HARDWARE_ID_MAX) {
        return complain(w->say, "--hardware takes 4 to 16 bytes");
    }
    o->hardware = w->hardware;
    say_rate(o, w->say);
    return PAG_OK;
}
