#include "relay/web.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

/* docs/operating/relay.md, "Upload pages". */

enum {
    CONNECT_MS = 10000,
    LOOK_MS = 6000,
    SILENCE_S = 30,
    UPLOAD_S = 900,
};

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
    struct pag_web_talk *a = ctx;
    size_t n = size * count;
    size_t room = PAG_WEB_BODY_MAX - a->n;
    size_t take = n < room ? n : room;
    memcpy(a->body + a->n, p, take);
    a->n += take;
    a->body[a->n] = '\0';
    return take; /* short: curl ends it, and what came counts */
}

static int on_progress(void *ctx, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    struct pag_web_talk *a = ctx;
    (void)down_all;
    (void)down;
    if (a->o->stop != NULL && atomic_load(a->o->stop)) {
        return 1;
    }
    if (a->uploads && a->r != NULL && up > 0) {
        bool all = up == up_all;
        pag_push_step(a->o, a->r, PAG_PUSH_SENDING, (uint64_t)up, (uint64_t)up_all);
        if (all) {
            pag_push_step(a->o, a->r, PAG_PUSH_INSTALLING, (uint64_t)up, (uint64_t)up_all);
        }
    }
    return 0;
}

enum pag_err pag_web_url(const struct pag_push_order *o, const char *path, char *out, size_t cap)
{
    struct pag_net_address a;
    enum pag_err err = pag_push_resolve(o, &a, NULL);
    unsigned port = o->port != 0 ? o->port : pag_push_port(o->protocol, o->chip);
    bool v6 = err == PAG_OK && strchr(a.text, ':') != NULL;
    int n = err != PAG_OK ? 0
                          : snprintf(out, cap, v6 ? "http://[%s]:%u%s%s" : "http://%s:%u%s%s", a.text, port,
                                     path[0] == '/' ? "" : "/", path);
    return err == PAG_OK && (n < 0 || (size_t)n >= cap) ? PAG_E_SPACE : err;
}

static void common(CURL *c, struct pag_web_talk *a, const char *url)
{
    const struct pag_push_order *o = a->o;
    a->n = 0;
    a->status = 0;
    a->body[0] = '\0';
    a->error[0] = '\0';
    (void)curl_easy_setopt(c, CURLOPT_URL, url);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http");
    (void)curl_easy_setopt(c, CURLOPT_PROXY, ""); /* in this network */
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, a->error);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, a);
    (void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME,
                           o->silence_ms != 0 ? (long)(o->silence_ms / 1000 + 1) : (long)SILENCE_S);
    if (o->password != NULL) {
        (void)curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)(CURLAUTH_BASIC | CURLAUTH_DIGEST));
        (void)curl_easy_setopt(c, CURLOPT_USERNAME, o->user != NULL ? o->user : "admin");
        (void)curl_easy_setopt(c, CURLOPT_PASSWORD, o->password);
    }
}

static CURLcode perform(CURL *c, struct pag_web_talk *a)
{
    CURLcode rc = curl_easy_perform(c);
    (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &a->status);
    return rc;
}

CURLcode pag_web_get(CURL *c, struct pag_web_talk *a, const char *url)
{
    common(c, a, url);
    (void)curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)LOOK_MS);
    return perform(c, a);
}

/* ---- what answers mean ---- */

bool pag_web_holds(struct pag_span s, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.n; i++) {
        if (memcmp(s.p + i, word, n) == 0) {
            return true;
        }
    }
    return false;
}

enum pag_web_form pag_web_form_of(struct pag_span page)
{
    bool fresh = pag_web_holds(page, "name='firmware") || pag_web_holds(page, "name=\"firmware") ||
                 pag_web_holds(page, "name=firmware");
    return fresh ? PAG_WEB_NEW : PAG_WEB_OLD;
}

/* The page's text: without tags, on one line. */
void pag_web_words(struct pag_span page, char *out, size_t cap)
{
    char plain[512] = "";
    size_t n = 0;
    bool tag = false;
    for (size_t i = 0; i < page.n && n < sizeof plain; i++) {
        if (page.p[i] == '<') {
            tag = true;
        } else if (page.p[i] == '>' && tag) {
            tag = false;
            plain[n++] = ' ';
        } else if (!tag) {
            plain[n++] = (char)page.p[i];
        }
    }
    pag_push_clean(pag_span_of(plain, n), out, cap);
}

static enum pag_err judge_ok(const struct pag_push_order *o, struct pag_span body, struct pag_push_result *r)
{
    char text[100];
    pag_web_words(body, text, sizeof text);
    if (o->protocol == PAG_PUSH_WLED || pag_web_holds(body, "Update Success")) {
        r->err = PAG_OK;
        return PAG_OK;
    }
    if (pag_web_holds(body, "Update error") || pag_web_holds(body, "Update Failed") ||
        pag_web_holds(body, "ERROR[")) {
        bool space = pag_web_holds(body, "ERROR[4]");
        bool md5 = pag_web_holds(body, "ERROR[7]");
        return pag_push_fail(r,
                             space ? PAG_E_SPACE
                             : md5 ? PAG_E_DIGEST
                                   : PAG_E_IO,
                             200, "the device refuses the image: %s (an old server restarts all the same)",
                             text);
    }
    return pag_push_fail(r, PAG_E_SYNTAX, 200,
                         "no upload page of ESP8266HTTPUpdateServer: it answered \"%s\"", text);
}

enum pag_err pag_web_judge(const struct pag_push_order *o, long status, struct pag_span body,
                           struct pag_push_result *r)
{
    char text[100];
    int code = (int)status;
    if (status == 200) {
        return judge_ok(o, body, r);
    }
    pag_web_words(body, text, sizeof text);
    if (status == 401 || status == 403) {
        bool wled = o->protocol == PAG_PUSH_WLED;
        bool none = o->password == NULL && status == 401 && !wled;
        return pag_push_fail(
            r, none ? PAG_E_UNAUTHENTICATED : PAG_E_DENIED, code, "%s%s%s",
            wled   ? "WLED refuses: unlock updates in its security settings, set its PIN there, and "
                     "push from its own network. "
            : none ? "the device wants a user and a password"
                   : "user or password are wrong",
            wled ? text : "", "");
    }
    if (status == 404) {
        return pag_push_fail(r, PAG_E_SYNTAX, code, "the device has no upload page at %s",
                             o->path != NULL ? o->path : "/update");
    }
    return pag_push_fail(r, PAG_E_IO, code, "the device answers %ld: %s", status, text);
}

enum pag_err pag_web_lost(const struct pag_web_talk *a, CURLcode rc, struct pag_push_result *r)
{
    if (rc == CURLE_ABORTED_BY_CALLBACK) {
        return pag_push_fail(r, PAG_E_CONDITION, -1, "stopped");
    }
    if (rc == CURLE_COULDNT_CONNECT) {
        return pag_push_fail(r, PAG_E_CLOSED, -1,
                             "nothing answers at the port: is it on, and in this network?");
    }
    enum pag_err err = rc == CURLE_OPERATION_TIMEDOUT ? PAG_E_TIMEOUT : PAG_E_CLOSED;
    return pag_push_fail(r, err, -1, "%s: %.120s",
                         err == PAG_E_TIMEOUT ? "the device fell silent" : "the connection was lost",
                         a->error[0] != '\0' ? a->error : curl_easy_strerror(rc));
}

/* ---- WLED's own word ---- */

static enum pag_chip chip_of(const char *arch)
{
    static const struct {
        const char *arch;
        enum pag_chip chip;
    } known[] = {
        { "esp8266", PAG_CHIP_ESP8266 },   { "esp01", PAG_CHIP_ESP8266 },
        { "esp32", PAG_CHIP_ESP32 },       { "esp32-s2", PAG_CHIP_ESP32_S2 },
        { "esp32-s3", PAG_CHIP_ESP32_S3 }, { "esp32-c3", PAG_CHIP_ESP32_C3 },
        { "esp32-c6", PAG_CHIP_ESP32_C6 },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (pag_span_eq_nocase(pag_span_str(arch), known[i].arch)) {
            return known[i].chip;
        }
    }
    return PAG_CHIP_UNKNOWN;
}

static void member(const json_t *o, const char *name, char *out, size_t cap)
{
    const char *text = json_string_value(json_object_get(o, name));
    pag_push_clean(pag_span_str(text), out, cap);
}

/* jansson recurses: braces are counted first. */
bool pag_web_too_deep(struct pag_span s)
{
    int depth = 0;
    for (size_t i = 0; i < s.n && depth <= PAG_WEB_JSON_DEPTH; i++) {
        depth += s.p[i] == '{' || s.p[i] == '[';
        depth -= (s.p[i] == '}' || s.p[i] == ']') && depth > 0;
    }
    return depth > PAG_WEB_JSON_DEPTH;
}

enum pag_err pag_wled_info_read(struct pag_span json, struct pag_push_info *out)
{
    char mac[32];
    char arch[24];
    json_t *o =
        json.n == 0 || pag_web_too_deep(json) ? NULL : json_loadb((const char *)json.p, json.n, 0, NULL);
    if (!json_is_object(o) || !json_is_string(json_object_get(o, "ver"))) {
        json_decref(o);
        return PAG_E_SYNTAX;
    }
    memset(out, 0, sizeof *out);
    member(o, "ver", out->version, sizeof out->version);
    member(o, "name", out->name, sizeof out->name);
    member(o, "brand", out->project, sizeof out->project);
    member(o, "mac", mac, sizeof mac);
    member(o, "arch", arch, sizeof arch);
    if (json_is_integer(json_object_get(o, "vid"))) {
        (void)snprintf(out->build, sizeof out->build, "%lld",
                       (long long)json_integer_value(json_object_get(o, "vid")));
    }
    json_decref(o);
    (void)pag_mac_text(pag_span_str(mac), out->mac);
    out->chip = chip_of(arch);
    out->answers = true;
    return PAG_OK;
}

static enum pag_err look(CURL *c, struct pag_web_talk *a, struct pag_push_info *info)
{
    char url[320];
    bool wled = a->o->protocol == PAG_PUSH_WLED;
    const char *path = wled ? "/json/info" : a->o->path != NULL ? a->o->path : "/update";
    enum pag_err err = pag_web_url(a->o, path, url, sizeof url);
    if (err != PAG_OK) {
        return err;
    }
    CURLcode rc = pag_web_get(c, a, url);
    if (rc != CURLE_OK && !(rc == CURLE_WRITE_ERROR && a->n == PAG_WEB_BODY_MAX)) {
        return rc == CURLE_ABORTED_BY_CALLBACK ? PAG_E_CONDITION : PAG_E_TIMEOUT;
    }
    info->answers = true;
    return wled ? pag_wled_info_read(pag_span_of(a->body, a->n), info) : PAG_OK;
}

enum pag_err pag_web_look(const struct pag_push_order *o, struct pag_push_info *info)
{
    struct pag_web_talk *a = calloc(1, sizeof *a);
    CURL *c = curl_easy_init();
    enum pag_err err = PAG_E_NO_MEMORY;
    if (a != NULL && c != NULL) {
        a->o = o;
        err = look(c, a, info);
    }
    if (c != NULL) {
        curl_easy_cleanup(c);
    }
    free(a);
    return err;
}

/* ---- upload ---- */

static const char *field_of(const struct pag_push_order *o, enum pag_web_form form)
{
    if (o->protocol == PAG_PUSH_WLED || form == PAG_WEB_OLD) {
        return "update";
    }
    return o->filesystem ? "filesystem" : "firmware";
}

CURLcode pag_web_post(CURL *c, struct pag_web_talk *a, const char *url, const char *field, const char *file)
{
    const struct pag_push_order *o = a->o;
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    curl_mime *mime = curl_mime_init(c);
    curl_mimepart *part = mime != NULL ? curl_mime_addpart(mime) : NULL;
    CURLcode rc = CURLE_OUT_OF_MEMORY;
    if (headers != NULL && part != NULL && curl_mime_name(part, field) == CURLE_OK &&
        curl_mime_filename(part, file) == CURLE_OK &&
        curl_mime_type(part, "application/octet-stream") == CURLE_OK &&
        curl_mime_data(part, (const char *)o->image.p, o->image.n) == CURLE_OK) {
        common(c, a, url);
        a->uploads = true;
        (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
        (void)curl_easy_setopt(c, CURLOPT_MIMEPOST, mime);
        (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)UPLOAD_S * 1000);
        rc = perform(c, a);
        a->uploads = false;
    }
    curl_mime_free(mime);
    curl_slist_free_all(headers);
    return rc;
}

static enum pag_err upload(CURL *c, struct pag_web_talk *a)
{
    char url[320];
    const struct pag_push_order *o = a->o;
    struct pag_push_result *r = a->r;
    enum pag_err err = pag_web_url(o, o->path != NULL ? o->path : "/update", url, sizeof url);
    if (err != PAG_OK) {
        return pag_push_fail(r, PAG_E_NOT_FOUND, -1, "no host \"%.60s\" is known", o->host);
    }
    pag_push_step(o, r, PAG_PUSH_KNOCKING, 0, o->image.n);
    /* The page first: it says which form it has and which password it wants, before the image goes for
     * nothing. */
    CURLcode rc = pag_web_get(c, a, url);
    if (rc != CURLE_OK && rc != CURLE_WRITE_ERROR) {
        return pag_web_lost(a, rc, r);
    }
    if (a->status != 200) {
        return pag_web_judge(o, a->status, pag_span_of(a->body, a->n), r);
    }
    rc = pag_web_post(c, a, url, field_of(o, pag_web_form_of(pag_span_of(a->body, a->n))), "firmware.bin");
    if (rc != CURLE_OK && (a->status == 0 || a->n == 0)) {
        return pag_web_lost(a, rc, r);
    }
    /* It hangs up as soon as it has answered: what came counts. */
    err = pag_web_judge(o, a->status, pag_span_of(a->body, a->n), r);
    if (err == PAG_OK) {
        pag_push_step(o, r, PAG_PUSH_TAKEN, o->image.n, o->image.n);
    }
    return err;
}

enum pag_err pag_web_push(const struct pag_push_order *o, struct pag_push_result *r)
{
    struct pag_web_talk *a = calloc(1, sizeof *a);
    CURL *c = curl_easy_init();
    enum pag_err err = PAG_E_NO_MEMORY;
    if (a != NULL && c != NULL) {
        a->o = o;
        a->r = r;
        err = upload(c, a);
    } else {
        (void)pag_push_fail(r, err, -1, "out of memory");
    }
    if (c != NULL) {
        curl_easy_cleanup(c);
    }
    free(a);
    return err;
}
