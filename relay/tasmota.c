#include "relay/tasmota.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "relay/web.h"

enum { URL_MAX = 1024, BACK_EVERY_MS = 500 };

struct visit {
    CURL *c;
    struct pag_web_talk a;
};

static struct visit *begin(const struct pag_push_order *o, struct pag_push_result *r)
{
    struct visit *v = calloc(1, sizeof *v);
    memset(r, 0, sizeof *r);
    r->code = -1;
    if (v != NULL) {
        v->c = curl_easy_init();
        v->a.o = o;
        v->a.r = r;
    }
    if (v == NULL || v->c == NULL) {
        free(v);
        (void)pag_push_fail(r, PAG_E_NO_MEMORY, -1, "out of memory");
        return NULL;
    }
    return v;
}

static void end(struct visit *v)
{
    curl_easy_cleanup(v->c);
    free(v);
}

static struct pag_span body_of(const struct visit *v)
{
    return pag_span_of(v->a.body, v->a.n);
}

/* What every answer can be, whatever was asked. */
static enum pag_err judge(const struct visit *v, CURLcode rc)
{
    struct pag_push_result *r = v->a.r;
    const struct pag_push_order *o = v->a.o;
    char text[PAG_WEB_TEXT];
    if (rc != CURLE_OK && (v->a.status == 0 || v->a.n == 0)) {
        return pag_web_lost(&v->a, rc, r);
    }
    if (v->a.status == 401) {
        return pag_push_fail(r, o->password == NULL ? PAG_E_UNAUTHENTICATED : PAG_E_DENIED, 401, "%s",
                             o->password == NULL ? "the device wants the password of its web page"
                                                 : "the password of its web page is another one");
    }
    if (v->a.status == 404) {
        return pag_push_fail(r, PAG_E_UNSUPPORTED, 404,
                             "it has no configuration page: no Tasmota, or a minimal build");
    }
    if (v->a.status != 200) {
        pag_web_words(body_of(v), text, sizeof text);
        return pag_push_fail(r, PAG_E_IO, (int)v->a.status, "the device answers %ld: %s", v->a.status, text);
    }
    return PAG_OK;
}

static enum pag_err get(struct visit *v, const char *path)
{
    char url[URL_MAX];
    enum pag_err err = pag_web_url(v->a.o, path, url, sizeof url);
    if (err != PAG_OK) {
        return pag_push_fail(v->a.r, PAG_E_NOT_FOUND, -1, "no host \"%.60s\" is known", v->a.o->host);
    }
    return judge(v, pag_web_get(v->c, &v->a, url));
}

/* ---- asking ---- */

static json_t *answer_of(const struct visit *v, const char *name)
{
    struct pag_span s = body_of(v);
    json_t *o = s.n == 0 || pag_web_too_deep(s) ? NULL : json_loadb((const char *)s.p, s.n, 0, NULL);
    json_t *said = json_incref(json_object_get(o, name));
    json_decref(o);
    return said;
}

/* A command of its console; said is the caller's. Old firmware wants the password in the URL. */
static enum pag_err command(struct visit *v, const char *words, const char *name, json_t **said)
{
    const struct pag_push_order *o = v->a.o;
    char path[URL_MAX];
    (void)snprintf(path, sizeof path, "/cm?cmnd=%s", words);
    enum pag_err err = get(v, path);
    *said = err == PAG_OK ? answer_of(v, name) : NULL;
    if (err == PAG_OK && *said == NULL && o->password != NULL && pag_web_holds(body_of(v), "WARNING")) {
        char *user = curl_easy_escape(v->c, o->user != NULL ? o->user : "admin", 0);
        char *password = curl_easy_escape(v->c, o->password, 0);
        (void)snprintf(path, sizeof path, "/cm?user=%s&password=%s&cmnd=%s", user != NULL ? user : "",
                       password != NULL ? password : "", words);
        curl_free(user);
        curl_free(password);
        err = get(v, path);
        *said = err == PAG_OK ? answer_of(v, name) : NULL;
    }
    if (err == PAG_OK && *said == NULL) {
        bool locked = pag_web_holds(body_of(v), "WARNING");
        return locked ? pag_push_fail(v->a.r, o->password == NULL ? PAG_E_UNAUTHENTICATED : PAG_E_DENIED, 200,
                                      "it wants the password of its web page")
                      : pag_push_fail(v->a.r, PAG_E_SYNTAX, 200, "what answers there is no Tasmota");
    }
    return err;
}

static enum pag_err ask(struct visit *v, struct pag_tasmota_info *out)
{
    json_t *said = NULL;
    memset(out, 0, sizeof *out);
    out->uptime_s = UINT64_MAX;
    enum pag_err err = command(v, "Status%202", "StatusFWR", &said);
    if (err != PAG_OK) {
        return err;
    }
    const char *version = json_string_value(json_object_get(said, "Version"));
    const char *hardware = json_string_value(json_object_get(said, "Hardware"));
    pag_push_clean(pag_span_str(version), out->version, sizeof out->version);
    pag_push_clean(pag_span_str(hardware), out->hardware, sizeof out->hardware);
    json_decref(said);
    if (pag_tasmota_number(out->version) == 0) {
        return pag_push_fail(v->a.r, PAG_E_SYNTAX, 200, "it says no version");
    }
    /* Not said by all: it only helps to see the restart. */
    if (command(v, "Status%2011", "StatusSTS", &said) == PAG_OK) {
        const json_t *s = json_object_get(said, "UptimeSec");
        out->uptime_s =
            json_is_integer(s) && json_integer_value(s) >= 0 ? (uint64_t)json_integer_value(s) : UINT64_MAX;
        json_decref(said);
    }
    memset(v->a.r, 0, sizeof *v->a.r);
    v->a.r->code = -1;
    return PAG_OK;
}

enum pag_err pag_tasmota_ask(const struct pag_push_order *o, struct pag_tasmota_info *out,
                             struct pag_push_result *r)
{
    struct visit *v = begin(o, r);
    enum pag_err err = PAG_E_NO_MEMORY;
    memset(out, 0, sizeof *out);
    if (v != NULL) {
        err = ask(v, out);
        end(v);
    }
    return err;
}

/* ---- backup ---- */

static enum pag_err fetch(struct visit *v, struct pag_buf *file, struct pag_tasmota_dump *dump)
{
    const char *why = NULL;
    enum pag_err err = get(v, "/dl");
    if (err != PAG_OK) {
        return err;
    }
    err = pag_tasmota_dump_read(body_of(v), dump, &why);
    if (err != PAG_OK) {
        return pag_push_fail(v->a.r, err, 200, "what it sent cannot be restored: %s", why);
    }
    file->n = 0;
    return pag_buf_put(file, body_of(v)) == PAG_OK
               ? PAG_OK
               : pag_push_fail(v->a.r, PAG_E_SPACE, 200, "its configuration is too large");
}

enum pag_err pag_tasmota_backup(const struct pag_push_order *o, struct pag_buf *file,
                                struct pag_tasmota_dump *dump, struct pag_push_result *r)
{
    struct visit *v = begin(o, r);
    enum pag_err err = PAG_E_NO_MEMORY;
    if (v != NULL) {
        err = fetch(v, file, dump);
        end(v);
    }
    return err;
}

/* ---- restore ---- */

/* Its words are in its language; only the page of a success loads itself again. */
static enum pag_err judge_upload(const struct visit *v)
{
    static const char font[] = "<font color=";
    struct pag_span page = body_of(v);
    char text[PAG_WEB_TEXT];
    if (pag_web_holds(page, "location.href='.'")) {
        return PAG_OK;
    }
    const char *from = strstr(v->a.body, font);
    const char *to = from != NULL ? strstr(from, "</div>") : NULL;
    if (from == NULL) {
        return pag_push_fail(v->a.r, PAG_E_SYNTAX, 200, "no answer of a Tasmota to an upload");
    }
    pag_web_words(pag_span_of(from, to != NULL ? (size_t)(to - from) : strlen(from)), text, sizeof text);
    return pag_push_fail(v->a.r, PAG_E_IO, 200, "it refuses the file: %s", text);
}

static enum pag_err send_file(struct visit *v)
{
    char path[40];
    char url[URL_MAX];
    const struct pag_push_order *o = v->a.o;
    /* The page first: it makes the device take the next upload as a configuration, not as firmware. */
    enum pag_err err = get(v, "/rs");
    (void)snprintf(path, sizeof path, "/u2?fsz=%zu", o->image.n);
    err = err == PAG_OK ? pag_web_url(o, path, url, sizeof url) : err;
    if (err != PAG_OK) {
        return err;
    }
    if (!pag_web_holds(body_of(v), "u2")) {
        return pag_push_fail(v->a.r, PAG_E_SYNTAX, 200, "what answers there is no Tasmota");
    }
    err = judge(v, pag_web_post(v->c, &v->a, url, "u2", "Config.dmp"));
    err = err == PAG_OK ? judge_upload(v) : err;
    if (err == PAG_OK) {
        pag_push_step(o, v->a.r, PAG_PUSH_TAKEN, o->image.n, o->image.n);
    }
    return err;
}

enum pag_err pag_tasmota_restore(const struct pag_push_order *o, struct pag_push_result *r)
{
    struct visit *v = begin(o, r);
    enum pag_err err = PAG_E_NO_MEMORY;
    if (v != NULL) {
        err = send_file(v);
        end(v);
    }
    return err;
}

enum pag_err pag_tasmota_back(const struct pag_push_order *o, const struct pag_tasmota_info *before,
                              uint32_t ms, struct pag_tasmota_info *after)
{
    uint64_t began = pag_net_now_ms();
    bool was_away = false;
    while (pag_net_now_ms() - began < ms) {
        struct pag_push_result r;
        enum pag_err err = pag_tasmota_ask(o, after, &r);
        bool here = err == PAG_OK;
        bool younger = here && before->uptime_s != UINT64_MAX && after->uptime_s < before->uptime_s;
        if (here && (was_away || younger)) {
            return PAG_OK;
        }
        if (err == PAG_E_DENIED || err == PAG_E_UNAUTHENTICATED) {
            return PAG_E_DENIED; /* the password of the file is in force */
        }
        was_away |= !here;
        if (err == PAG_E_CONDITION || !pag_wait_pause(BACK_EVERY_MS, o->stop)) {
            return PAG_E_CONDITION;
        }
    }
    return PAG_E_TIMEOUT;
}
