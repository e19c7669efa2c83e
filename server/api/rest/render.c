#include "server/api/rest/render.h"

#include <string.h>

#include "core/bytes.h"
#include "core/image.h"
#include "server/api/json.h"

static void put(json_t *o, const char *name, json_t *value)
{
    (void)json_object_set_new(o, name, value);
}

static void put_str(json_t *o, const char *name, const char *text)
{
    put(o, name, pag_json_str(text));
}

static void put_uint(json_t *o, const char *name, uint64_t v)
{
    put(o, name, json_integer((json_int_t)v));
}

static void put_time(json_t *o, const char *name, int64_t ms)
{
    put(o, name, pag_json_time(ms > 0 ? (uint64_t)ms : 0));
}

static void put_hex(json_t *o, const char *name, const uint8_t *p, size_t n)
{
    put(o, name, pag_json_hex(pag_span_of(p, n)));
}

/* Text, or null when it is empty. */
static void put_some(json_t *o, const char *name, const char *text)
{
    put_str(o, name, text != NULL && text[0] != '\0' ? text : NULL);
}

static json_t *settings_of(const struct pag_product_settings *s)
{
    char core[PAG_CORE_TEXT];
    json_t *o = json_object();
    json_t *topics = json_object();
    put_uint(o, "poll_s", s->poll_s);
    put_str(o, "legacy_auth", pag_legacy_auth_word(s->legacy_auth));
    put(o, "plain_http", json_boolean(s->plain_http));
    put_uint(o, "max_serves", s->max_serves);
    pag_core_text(s->core, core);
    put_some(o, "core", core);
    put_str(topics, "command", s->topic_command);
    put_str(topics, "status", s->topic_status);
    put_str(topics, "will", s->topic_will);
    put(o, "topics", topics);
    return o;
}

json_t *pag_render_product(const struct pag_product *p)
{
    json_t *o = json_object();
    json_t *hardware = json_array();
    put(o, "id", json_sprintf("prd_%s", p->id));
    put_str(o, "name", p->name);
    put_str(o, "chip", pag_chip_name(p->chip));
    for (size_t i = 0; i < p->hardware_n; i++) {
        (void)json_array_append_new(hardware, pag_json_str(p->hardware[i]));
    }
    put(o, "hardware", hardware);
    put(o, "flash_bytes", p->flash_bytes > 0 ? json_integer(p->flash_bytes) : json_null());
    put(o, "slot_bytes", p->slot_bytes > 0 ? json_integer(p->slot_bytes) : json_null());
    put_time(o, "created_at", p->created_ms);
    put_uint(o, "trust_version", p->trust_version);
    put(o, "settings", settings_of(&p->settings));
    return o;
}

static const char *kind_word(enum pag_image_kind kind)
{
    switch (kind) {
    case PAG_IMAGE_ESP8266_ARDUINO:
        return "esp8266-arduino";
    case PAG_IMAGE_ESP8266_PLAIN:
        return "esp8266-plain";
    case PAG_IMAGE_ESP32:
        return "esp32";
    case PAG_IMAGE_ELF:
        return "elf";
    case PAG_IMAGE_FILESYSTEM:
        return "filesystem";
    }
    return "unknown";
}

json_t *pag_render_image(const struct pag_release_image *i)
{
    char core[PAG_CORE_TEXT];
    json_t *o = json_object();
    put_str(o, "id", i->id);
    put_str(o, "name", i->name);
    put_str(o, "kind", kind_word(i->kind));
    put_str(o, "chip", pag_chip_name(i->chip));
    put_uint(o, "bytes", i->bytes);
    put_hex(o, "sha256", i->sha256, sizeof i->sha256);
    put_hex(o, "md5", i->md5, sizeof i->md5);
    put_some(o, "project", i->project);
    put_some(o, "version", i->version);
    put_some(o, "hardware", i->hardware);
    put(o, "flash_size_bytes", i->flash_size_bytes > 0 ? json_integer(i->flash_size_bytes) : json_null());
    put_uint(o, "flash_mode", i->flash_mode);
    pag_core_text(i->core, core);
    put_some(o, "core", core);
    put_some(o, "file", i->file);
    put(o, "flash_offset", i->flash_offset >= 0 ? json_integer(i->flash_offset) : json_null());
    put(o, "gzip", json_boolean(i->gzip));
    put(o, "trailer", json_boolean(i->trailer));
    put(o, "signed_by",
        i->has_signed_by ? pag_json_hex(pag_span_of(i->signed_by, sizeof i->signed_by)) : json_null());
    put(o, "trailer_form",
        i->has_signed_by ? json_string(i->trailer_legacy ? "legacy" : "standard") : json_null());
    put(o, "embedded_key",
        i->has_embedded_key ? pag_json_hex(pag_span_of(i->embedded_key, sizeof i->embedded_key))
                            : json_null());
    put_uint(o, "signatures", i->detached_n);
    return o;
}

json_t *pag_render_release(const struct pag_release *r, const char *product)
{
    json_t *o = json_object();
    json_t *images = json_array();
    json_t *counts = json_object();
    put_str(o, "id", r->id);
    put_str(o, "product", product);
    put_str(o, "version", r->version);
    put_str(o, "channel", r->channel);
    put_str(o, "state", pag_release_state_word(r->state));
    put_uint(o, "sequence", r->sequence);
    put_uint(o, "epoch", r->epoch);
    put_some(o, "notes", r->notes);
    put_time(o, "created_at", r->created_ms);
    put_time(o, "published_at", r->published_ms);
    put_time(o, "withdrawn_at", r->withdrawn_ms);
    for (size_t i = 0; i < r->image_n; i++) {
        json_t *image = pag_render_image(&r->image[i]);
        put(image, "manifest", json_boolean(r->manifest[i].n > 0));
        (void)json_array_append_new(images, image);
    }
    put(o, "images", images);
    put_uint(counts, "offered", r->counts.offered);
    put_uint(counts, "downloading", r->counts.downloading);
    put_uint(counts, "installing", r->counts.installing);
    put_uint(counts, "confirmed", r->counts.confirmed);
    put_uint(counts, "failed", r->counts.failed);
    put_uint(counts, "reverted", r->counts.reverted);
    put(o, "counts", counts);
    return o;
}

static json_t *running_of(const struct pag_render_device *v)
{
    const struct pag_facts *f = &v->device->facts;
    json_t *o = json_object();
    put_some(o, "version", f->version.source != PAG_ABSENT ? f->version.value : NULL);
    put(o, "sha256",
        f->running.source != PAG_ABSENT ? pag_json_hex(pag_span_of(f->running.value, sizeof f->running.value))
                                        : json_null());
    put(o, "md5",
        f->running_md5.source != PAG_ABSENT
            ? pag_json_hex(pag_span_of(f->running_md5.value, sizeof f->running_md5.value))
            : json_null());
    put(o, "sequence",
        f->sequence.source != PAG_ABSENT ? json_integer(f->sequence.value)
                                         : json_integer(v->running_sequence));
    put(o, "slot", f->slot.source != PAG_ABSENT ? json_integer(f->slot.value) : json_null());
    put_time(o, "since", v->device->running_since_ms);
    return o;
}

static json_t *action_of(const struct pag_action *a)
{
    json_t *o = json_object();
    put_uint(o, "id", a->id);
    put_str(o, "release", a->release);
    put_str(o, "version", a->version);
    put_str(o, "state", pag_report_state_word(a->state));
    put_uint(o, "progress", a->progress_pct);
    put(o, "code", json_integer(a->code));
    put_some(o, "text", a->text);
    put_time(o, "since", a->changed_ms);
    return o;
}

static json_t *certificate_of(const struct pag_device *d)
{
    json_t *o = json_object();
    put_hex(o, "serial", d->cert_serial, d->cert_serial_n);
    put_time(o, "not_after", d->cert_not_after_ms);
    put_time(o, "revoked_at", d->revoked_ms);
    return o;
}

static json_t *blocked_of(const struct pag_render_device *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < v->image_n; i++) {
        const struct pag_device_image *h = &v->image[i];
        if (!h->blocked) {
            continue;
        }
        json_t *o = json_object();
        put_hex(o, "sha256", h->sha256, sizeof h->sha256);
        put_some(o, "version", h->version);
        put_str(o, "reason", h->reason);
        put_time(o, "at", h->changed_ms);
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *tags_of(const char *tags)
{
    json_t *list = json_array();
    struct pag_span s = pag_span_str(tags);
    for (size_t at = 0; at < s.n;) {
        size_t end = pag_span_find(s, at, ',');
        if (end > at) {
            (void)json_array_append_new(list, pag_json_text((struct pag_span){ s.p + at, end - at }));
        }
        at = end + 1;
    }
    return list;
}

static const char *boot_word(const struct pag_fact_u32 *f)
{
    static const char *const words[] = { "confirmed", "on_trial", "came_back" };
    return f->source != PAG_ABSENT && f->value < 3 ? words[f->value] : NULL;
}

json_t *pag_render_device(const struct pag_render_device *v)
{
    const struct pag_device *d = v->device;
    const struct pag_facts *f = &d->facts;
    json_t *o = json_object();
    put_str(o, "id", d->id);
    put_str(o, "name", d->name);
    put_some(o, "mac", d->mac);
    put_str(o, "product", v->product);
    put_str(o, "chip",
            pag_chip_name(f->chip.source != PAG_ABSENT ? (enum pag_chip)f->chip.value : PAG_CHIP_UNKNOWN));
    put_some(o, "hardware", f->hardware.source != PAG_ABSENT ? f->hardware.value : NULL);
    put_str(o, "protocol", pag_protocol_word(d->protocol));
    put_str(o, "proof", pag_proof_word(d->proof));
    put_str(o, "state", pag_device_state_word(d->state));
    put_some(o, "why", d->why);
    put(o, "online", json_boolean(d->online));
    put(o, "running", running_of(v));
    if (v->wanted_version != NULL) {
        json_t *wanted = json_object();
        put_str(wanted, "version", v->wanted_version);
        put_str(wanted, "release", v->wanted_release);
        put(o, "wanted", wanted);
    } else {
        put(o, "wanted", json_null());
    }
    put(o, "action", v->action != NULL ? action_of(v->action) : json_null());
    put_uint(o, "epoch", f->epoch.source != PAG_ABSENT ? f->epoch.value : 0);
    put_uint(o, "trust_version", f->trust_version.source != PAG_ABSENT ? f->trust_version.value : 0);
    put_str(o, "boot_state", boot_word(&f->boot_state));
    put(o, "verify_key",
        d->has_verify_key ? pag_json_hex(pag_span_of(d->verify_key, sizeof d->verify_key)) : json_null());
    put_time(o, "last_seen", d->last_seen_ms);
    put_time(o, "last_poll", d->last_poll_ms);
    put_time(o, "enrolled_at", d->enrolled_ms);
    put(o, "certificate", d->cert_serial_n > 0 ? certificate_of(d) : json_null());
    put(o, "blocked", blocked_of(v));
    put(o, "tags", tags_of(d->tags));
    put_some(o, "pin", d->pin);
    return o;
}

json_t *pag_render_command(const struct pag_command *c, int64_t now_ms)
{
    json_t *o = json_object();
    put(o, "id", json_sprintf("cmd_%08x", c->id));
    put_str(o, "device", c->device);
    put_str(o, "kind", pag_command_kind_word(c->kind));
    put(o, "arg", c->arg.n > 0 ? pag_json_text(c->arg) : json_null());
    put_str(o, "state", pag_command_state_word(pag_command_state_at(c, now_ms)));
    put_str(o, "actor", c->actor);
    put_time(o, "created_at", c->created_ms);
    put_time(o, "expires_at", c->expires_ms);
    put_time(o, "sent_at", c->sent_ms);
    put_time(o, "done_at", c->done_ms);
    if (c->done_ms > 0) {
        json_t *result = json_object();
        put(result, "code", json_integer(c->code));
        put_str(result, "text", c->result);
        put(o, "result", result);
    } else {
        put(o, "result", json_null());
    }
    return o;
}

json_t *pag_render_event(const struct pag_event *e, const char *product)
{
    const struct pag_json_limits limits = { 65536, 16 };
    json_t *data = NULL;
    json_t *o = json_object();
    put_uint(o, "seq", e->seq > 0 ? (uint64_t)e->seq : 0);
    put_time(o, "at", e->at_ms);
    put_str(o, "type", e->type);
    put_some(o, "product", product);
    put_some(o, "device", e->device);
    put_some(o, "actor", e->actor);
    if (e->data.n == 0 || pag_json_parse(e->data, limits, &data, NULL) != PAG_OK) {
        data = json_object();
    }
    put(o, "data", data);
    return o;
}

json_t *pag_render_claim(const struct pag_claim_code *c, const char *product, const char *code)
{
    json_t *o = json_object();
    put_str(o, "id", c->id);
    if (code != NULL) {
        put_str(o, "code", code);
    }
    put_str(o, "product", product);
    put_uint(o, "uses", c->uses);
    put_uint(o, "uses_left", c->uses_left);
    put_some(o, "mac", c->mac);
    put_time(o, "created_at", c->created_ms);
    put_time(o, "expires_at", c->expires_ms);
    put_some(o, "actor", c->actor);
    return o;
}

json_t *pag_render_access_token(const struct pag_access_token *t, const char *product, const char *secret)
{
    json_t *o = json_object();
    put(o, "id", json_sprintf("tok_%s", t->id));
    put_str(o, "name", t->name);
    put_str(o, "role", pag_role_word(t->role));
    put_some(o, "product", product);
    if (secret != NULL) {
        put_str(o, "token", secret);
    }
    put_time(o, "created_at", t->created_ms);
    put_time(o, "expires_at", t->expires_ms);
    put_time(o, "last_used_at", t->last_used_ms);
    put_time(o, "revoked_at", t->revoked_ms);
    return o;
}

json_t *pag_render_list(json_t *items, const char *cursor, uint64_t total)
{
    json_t *o = json_object();
    json_t *count = json_object();
    put(o, "items", items);
    put_str(o, "next_cursor", cursor);
    put_uint(count, "value", total);
    put_str(count, "relation", "exact");
    put(o, "total", count);
    return o;
}
