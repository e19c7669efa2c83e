#include "cli/client.h"

#include <curl/curl.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/progress.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "host/fs.h"

enum { TRIES = 4, FIRST_DELAY_MS = 250, BODY_MAX = 64 << 20, BIG_BODY = 64 << 10, CA_MAX = 4 << 20 };

struct transfer {
    struct pag_cli *cli;
    const struct pag_call *call;
    struct pag_answer *answer;
    struct pag_progress bar;
    char *body;
    size_t n, cap;
    size_t sent;
    bool too_large;
    bool sink_failed;
};

/* ---- callbacks ---- */

static size_t grow(struct transfer *t, const char *p, size_t n)
{
    if (t->n + n > BODY_MAX) {
        t->too_large = true;
        return 0;
    }
    if (t->n + n + 1 > t->cap) {
        size_t cap = (t->n + n + 1) * 2;
        char *bigger = pag_cli_alloc(t->cli, cap);
        if (t->n != 0) {
            memcpy(bigger, t->body, t->n);
        }
        t->body = bigger;
        t->cap = cap;
    }
    memcpy(t->body + t->n, p, n);
    t->n += n;
    t->body[t->n] = 0;
    return n;
}

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t n = size * count;
    if (t->call->sink != NULL && t->answer->status >= 200 && t->answer->status < 300) {
        if (fwrite(p, 1, n, t->call->sink) != n) {
            t->sink_failed = true;
            return 0;
        }
        return n;
    }
    return grow(t, p, n);
}

static void copy_value(char *dst, size_t cap, struct pag_span line, size_t skip)
{
    while (skip < line.n && (line.p[skip] == ' ' || line.p[skip] == '\t')) {
        skip++;
    }
    while (line.n > skip && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == '\n')) {
        line.n--;
    }
    size_t n = line.n - skip < cap - 1 ? line.n - skip : cap - 1;
    memcpy(dst, line.p + skip, n);
    dst[n] = 0;
}

static bool header_is(struct pag_span line, const char *name)
{
    size_t n = strlen(name);
    return line.n > n && pag_span_eq_nocase((struct pag_span){ line.p, n }, name);
}

static size_t on_header(char *p, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    struct pag_answer *a = t->answer;
    struct pag_span line = pag_span_of(p, size * count);
    char number[16];
    if (pag_span_starts(line, "HTTP/")) {
        size_t at = pag_span_find(line, 0, ' ');
        uint32_t status = 0;
        struct pag_span digits;
        if (pag_span_sub(line, at + 1, 3, &digits) == PAG_OK && pag_parse_u32(digits, &status) == PAG_OK) {
            a->status = (long)status;
        }
    } else if (header_is(line, "content-type:")) {
        copy_value(a->type, sizeof a->type, line, 13);
    } else if (header_is(line, "date:")) {
        copy_value(a->date, sizeof a->date, line, 5);
    } else if (header_is(line, "x-request-id:")) {
        copy_value(a->request_id, sizeof a->request_id, line, 13);
    } else if (header_is(line, "retry-after:")) {
        copy_value(number, sizeof number, line, 12);
        (void)pag_parse_u32(pag_span_str(number), &a->retry_after_s);
    }
    return line.n;
}

static size_t on_read(char *p, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t left = t->call->raw.n - t->sent;
    size_t n = size * count < left ? size * count : left;
    if (n != 0) {
        memcpy(p, t->call->raw.p + t->sent, n);
    }
    t->sent += n;
    return n;
}

static int on_rewind(void *ctx, curl_off_t offset, int origin)
{
    struct transfer *t = ctx;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->call->raw.n) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    t->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *ctx, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    struct transfer *t = ctx;
    if (t->call->sink != NULL) {
        pag_progress_step(&t->bar, (uint64_t)down, (uint64_t)down_all);
    } else {
        pag_progress_step(&t->bar, (uint64_t)up, (uint64_t)up_all);
    }
    return 0;
}

/* ---- one try ---- */

static void add_header(struct pag_cli *cli, struct curl_slist **list, const char *name, const char *value)
{
    if (value == NULL) {
        return;
    }
    struct curl_slist *more = curl_slist_append(*list, pag_cli_text(cli, "%s: %s", name, value));
    if (more != NULL) {
        *list = more;
    }
}

static struct curl_slist *headers_of(struct pag_cli *cli, const struct pag_call *call, const char *key,
                                     const char *type)
{
    struct curl_slist *list = NULL;
    add_header(cli, &list, "Accept",
               call->sink != NULL ? "*/*" : "application/json, application/problem+json, */*");
    add_header(cli, &list, "Content-Type", type);
    add_header(cli, &list, "Repr-Digest", call->digest);
    add_header(cli, &list, "Idempotency-Key", key);
    add_header(cli, &list, "X-Request-Id", pag_opt(cli, "request-id"));
    if (!call->no_token && !call->probe && call->peer == NULL && cli->set.token != NULL) {
        add_header(cli, &list, "Authorization", pag_cli_text(cli, "Bearer %s", cli->set.token));
    }
    struct curl_slist *more = curl_slist_append(list, "Expect:");
    return more != NULL ? more : list;
}

static void set_blob(CURL *curl, CURLoption option, struct pag_span s)
{
    struct curl_blob blob = { .len = s.n, .flags = CURL_BLOB_COPY };
    memcpy(&blob.data, &s.p, sizeof blob.data); /* libcurl only reads, but says void * */
    if (s.n > 0) {
        (void)curl_easy_setopt(curl, option, &blob);
    }
}

static void set_peer(CURL *curl, const struct pag_peer *peer)
{
    (void)curl_easy_setopt(curl, CURLOPT_CAINFO, NULL);
    (void)curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    set_blob(curl, CURLOPT_CAINFO_BLOB, peer->ca);
    set_blob(curl, CURLOPT_SSLCERT_BLOB, peer->cert);
    set_blob(curl, CURLOPT_SSLKEY_BLOB, peer->key);
}

static void set_tls(CURL *curl, struct pag_cli *cli, const struct pag_call *call)
{
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http");
    (void)curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    (void)curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
    if (call->peer != NULL) {
        set_peer(curl, call->peer);
    } else if (cli->set.ca != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, cli->set.ca);
        (void)curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    if (call->probe) {
        (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
        /* A connection that was not checked must not be used again for a call that relies on the check. */
        (void)curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    }
}

static void set_body(CURL *curl, struct transfer *t)
{
    const struct pag_call *call = t->call;
    bool sends = call->type != NULL;
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
    if (sends) {
        (void)curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->raw.n);
        (void)curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
        (void)curl_easy_setopt(curl, CURLOPT_READDATA, t);
        (void)curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_rewind);
        (void)curl_easy_setopt(curl, CURLOPT_SEEKDATA, t);
    } else if (strcmp(call->method, "POST") == 0) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    } else if (strcmp(call->method, "HEAD") == 0) {
        (void)curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    }
    if (call->progress != NULL) {
        pag_progress_begin(&t->bar, t->cli, call->progress);
        (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    }
}

/* A long transfer may take as long as it moves; all else ends at the deadline. */
static void set_limits(CURL *curl, const struct pag_call *call, uint64_t left_ms)
{
    bool big = call->raw.n > BIG_BODY || call->sink != NULL;
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)left_ms);
    if (big) {
        (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)(left_ms / 1000 + 1));
    } else {
        (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
    }
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
}

static int exit_of_curl(CURL *curl, CURLcode rc)
{
    curl_off_t ready = 0;
    if (rc == CURLE_OPERATION_TIMEDOUT) {
        (void)curl_easy_getinfo(curl, CURLINFO_PRETRANSFER_TIME_T, &ready);
        return ready > 0 ? PAG_EXIT_TIMEOUT : PAG_EXIT_UNREACHABLE;
    }
    return rc == CURLE_WRITE_ERROR ? PAG_EXIT_FAILED : PAG_EXIT_UNREACHABLE;
}

static const char *url_of(struct pag_cli *cli, const struct pag_call *call)
{
    if (call->peer != NULL) {
        return pag_cli_text(cli, "%s%s", call->peer->base, call->path);
    }
    return pag_cli_text(cli, "%s%s%s", cli->set.server, call->root ? "" : "/api/v1", call->path);
}

static int try_once(struct transfer *t, const char *key, uint64_t left_ms)
{
    struct pag_cli *cli = t->cli;
    CURL *curl = cli->curl;
    char text[CURL_ERROR_SIZE] = "";
    const char *url = url_of(cli, t->call);
    curl_easy_reset(curl);
    struct curl_slist *headers = headers_of(cli, t->call, key, t->call->type);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "pagurus/" PAGURUS_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    set_tls(curl, cli, t->call);
    set_body(curl, t);
    set_limits(curl, t->call, left_ms);
    if (cli->verbose >= 2) {
        (void)fprintf(stderr, "> %s %s\n", t->call->method, url);
    }
    CURLcode rc = curl_easy_perform(curl);
    if (t->call->progress != NULL) {
        pag_progress_end(&t->bar, rc == CURLE_OK && t->answer->status < 300);
    }
    if (cli->verbose >= 2) {
        (void)fprintf(stderr, "< %ld %s (%zu bytes)\n", t->answer->status, t->answer->type, t->n);
    }
    curl_slist_free_all(headers);
    t->answer->body = pag_span_of(t->body, t->n);
    if (rc == CURLE_OK) {
        return PAG_EXIT_OK;
    }
    t->answer->status = 0;
    t->answer->curl = (int)rc;
    (void)curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &t->answer->os_errno);
    (void)snprintf(t->answer->error, sizeof t->answer->error, "%s",
                   text[0] != 0 ? text : curl_easy_strerror(rc));
    return exit_of_curl(curl, rc);
}

/* ---- retries ---- */

static bool worth_again(int rc, long status)
{
    return (rc == PAG_EXIT_UNREACHABLE && status == 0) || status == 429 || status == 502 || status == 503 ||
           status == 504;
}

static uint64_t delay_ms(unsigned attempt, const struct pag_answer *a)
{
    uint8_t noise = 0;
    (void)RAND_bytes(&noise, 1);
    uint64_t base = (uint64_t)FIRST_DELAY_MS << attempt;
    uint64_t ms = base / 2 + base * noise / 512;
    uint64_t asked = (uint64_t)a->retry_after_s * 1000;
    return asked > ms ? asked : ms;
}

static void pause_ms(uint64_t ms)
{
    struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000L };
    (void)nanosleep(&t, NULL);
}

static const char *new_key(struct pag_cli *cli, const struct pag_call *call)
{
    uint8_t random[16];
    char hex[33];
    if (strcmp(call->method, "POST") != 0 || RAND_bytes(random, sizeof random) != 1) {
        return NULL;
    }
    pag_text_hex(pag_span_of(random, sizeof random), hex);
    return pag_cli_text(cli, "%s", hex);
}

static void begin_try(struct transfer *t)
{
    memset(t->answer, 0, sizeof *t->answer);
    t->body = NULL;
    t->n = 0;
    t->cap = 0;
    t->sent = 0;
}

static int perform(struct transfer *t)
{
    struct pag_cli *cli = t->cli;
    const char *key = new_key(cli, t->call);
    uint64_t end = cli->clock.now_ms(cli->clock.ctx) + cli->timeout_ms;
    uint64_t left = cli->timeout_ms;
    int rc = PAG_EXIT_OK;
    for (unsigned attempt = 0; attempt < TRIES; attempt++) {
        begin_try(t);
        rc = try_once(t, key, left);
        if (!worth_again(rc, t->answer->status) || t->call->once || t->call->sink != NULL || t->too_large) {
            break;
        }
        uint64_t wait = delay_ms(attempt, t->answer);
        uint64_t now = cli->clock.now_ms(cli->clock.ctx);
        if (attempt + 1 == TRIES || now + wait >= end) {
            break;
        }
        if (cli->verbose >= 1) {
            pag_cli_say(cli, "trying again in %u ms: %s\n", (unsigned)wait,
                        t->answer->status == 0 ? t->answer->error : "the server is busy");
        }
        pause_ms(wait);
        left = end - cli->clock.now_ms(cli->clock.ctx);
    }
    return rc;
}

static int connect_failed(struct pag_cli *cli, const struct transfer *t, int rc)
{
    if (t->sink_failed) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, "make free space on that disk: it is probably full",
                            "the file could not be written");
    }
    if (t->too_large) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "the answer is larger than %d bytes", BODY_MAX);
    }
    return pag_unreached_say(cli, t->call, t->answer, rc);
}

static void parse_json(struct pag_cli *cli, struct pag_answer *a)
{
    if (strstr(a->type, "json") != NULL && a->body.n != 0) {
        a->json =
            pag_cli_keep(cli, json_loadb((const char *)a->body.p, a->body.n, JSON_REJECT_DUPLICATES, NULL));
    }
}

/* libcurl's words for a file that holds no certificate would help nobody. */
static int check_ca(struct pag_cli *cli)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *file = cli->set.ca;
    if (file == NULL) {
        return PAG_EXIT_OK;
    }
    if (pag_fs_read(file, CA_MAX, &buf, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_USAGE, file, &why);
    }
    BIO *in = BIO_new_mem_buf(buf.p, (int)buf.n);
    X509 *x = in == NULL ? NULL : PEM_read_bio_X509_AUX(in, NULL, NULL, NULL);
    bool good = x != NULL;
    X509_free(x);
    BIO_free(in);
    pag_fs_buf_free(&buf);
    return good ? PAG_EXIT_OK
                : pag_cli_fail(cli, PAG_EXIT_USAGE,
                               "want text with -----BEGIN CERTIFICATE-----: ca/root.pem of the server's data "
                               "folder, or what pagurus ca trust-bundle prints",
                               "the file %s holds no PEM certificate", file);
}

static int ready(struct pag_cli *cli, const struct pag_call *call)
{
    int rc = pag_conf_load(cli);
    if (rc == PAG_EXIT_OK) {
        rc = pag_conf_need_server(cli);
    }
    if (rc == PAG_EXIT_OK && !call->no_token && !call->probe && call->peer == NULL) {
        rc = pag_conf_token(cli);
    }
    if (rc == PAG_EXIT_OK && cli->curl == NULL) {
        rc = check_ca(cli);
    }
    if (rc == PAG_EXIT_OK && cli->curl == NULL) {
        cli->curl = curl_easy_init();
        rc = cli->curl == NULL ? pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "libcurl did not start") : rc;
    }
    return rc;
}

int pag_client_call(struct pag_cli *cli, const struct pag_call *call, struct pag_answer *out)
{
    struct pag_call copy = *call;
    struct transfer t = { .cli = cli, .call = &copy, .answer = out };
    memset(out, 0, sizeof *out);
    int rc = ready(cli, call);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (copy.body != NULL) {
        char *text = json_dumps(copy.body, JSON_COMPACT);
        if (text == NULL) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "texts must be UTF-8",
                                "the request cannot be written as JSON");
        }
        copy.raw = pag_span_str(pag_cli_text(cli, "%s", text));
        copy.type = "application/json";
        free(text); /* json_dumps allocates with malloc */
    }
    rc = perform(&t);
    if (rc != PAG_EXIT_OK) {
        return call->silent ? rc : connect_failed(cli, &t, rc);
    }
    parse_json(cli, out);
    if (out->status >= 200 && out->status < 300) {
        return PAG_EXIT_OK;
    }
    return call->silent ? pag_problem_exit(out->status) : pag_problem_say(cli, call, out);
}

int pag_client_send(struct pag_cli *cli, const char *method, const char *path, json_t *body, json_t **json)
{
    struct pag_answer a;
    struct pag_call call = { .method = method, .path = path, .body = body };
    int rc = pag_client_call(cli, &call, &a);
    if (json != NULL) {
        *json = a.json;
        if (rc == PAG_EXIT_OK && a.json == NULL && strcmp(method, "GET") == 0) {
            return pag_cli_fail(cli, PAG_EXIT_FAILED, "is this a Pagurus server?",
                                "GET %s: the answer is no JSON", path);
        }
    }
    return rc;
}

int pag_client_get(struct pag_cli *cli, const char *path, json_t **json)
{
    return pag_client_send(cli, "GET", path, NULL, json);
}

json_t *pag_client_value(const char *text)
{
    uint64_t n = 0;
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        return json_boolean(text[0] == 't');
    }
    if (strcmp(text, "null") == 0) {
        return json_null();
    }
    if (pag_parse_u64(pag_span_str(text), &n) == PAG_OK && n <= INT64_MAX) {
        return json_integer((json_int_t)n);
    }
    return json_string(text);
}

char *pag_client_escape(struct pag_cli *cli, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t n = strlen(text);
    char *out = pag_cli_alloc(cli, 3 * n + 1);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (strchr(plain, text[i]) != NULL) {
            out[at++] = text[i];
        } else {
            (void)snprintf(out + at, 4, "%%%02X", (unsigned)(unsigned char)text[i]);
            at += 3;
        }
    }
    return out;
}

const char *pag_client_chain(struct pag_cli *cli, size_t at)
{
    struct curl_certinfo *info = NULL;
    if (cli->curl == NULL || curl_easy_getinfo(cli->curl, CURLINFO_CERTINFO, &info) != CURLE_OK ||
        info == NULL || info->num_of_certs < 0 || at >= (size_t)info->num_of_certs) {
        return NULL;
    }
    for (struct curl_slist *l = info->certinfo[at]; l != NULL; l = l->next) {
        if (strncmp(l->data, "Cert:", 5) == 0) {
            return pag_cli_text(cli, "%s", l->data + 5);
        }
    }
    return NULL;
}

void pag_client_close(struct pag_cli *cli)
{
    if (cli->curl != NULL) {
        curl_easy_cleanup(cli->curl);
        cli->curl = NULL;
    }
}
