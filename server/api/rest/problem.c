#include "server/api/rest/problem.h"

#include "core/bytes.h"
#include "server/api/json.h"
#include "server/api/reply.h"

static const struct pag_problem_row rows[PAG_PROBLEM_COUNT] = {
    [PAG_PROBLEM_BAD_REQUEST] = { "bad-request", 400, "The request could not be read",
                                  "Compare the request with docs/spec/rest.md." },
    [PAG_PROBLEM_UNAUTHENTICATED] = { "unauthenticated", 401, "No valid token",
                                      "Send 'Authorization: Bearer pgt_…'; 'pagurusd setup-token' makes "
                                      "one." },
    [PAG_PROBLEM_FORBIDDEN] = { "forbidden", 403, "The token's role does not allow this",
                                "Use a token with a higher role; an admin makes one with POST /tokens." },
    [PAG_PROBLEM_NOT_FOUND] = { "not-found", 404, "There is no such object",
                                "List the collection to see what there is." },
    [PAG_PROBLEM_METHOD_NOT_ALLOWED] = { "method-not-allowed", 405, "The path does not take this method",
                                         "See docs/spec/rest.md for the methods of this path." },
    [PAG_PROBLEM_CONFLICT] = { "conflict", 409, "The object's state does not allow this",
                               "Read the object again and decide anew." },
    [PAG_PROBLEM_PRODUCT_EXISTS] = { "product-exists", 409, "A product with this name exists",
                                     "Choose another name, or PATCH the settings of the existing one." },
    [PAG_PROBLEM_MOUNT_EXISTS] = { "mount-exists", 409, "The path belongs to a product already",
                                   "GET /products/{name}/mounts shows them; remove the other one first." },
    [PAG_PROBLEM_VERSION_EXISTS] = { "version-exists", 409, "A release with this version exists",
                                     "Raise the version; released versions are never replaced." },
    [PAG_PROBLEM_IMAGE_DIFFERS] = { "image-differs", 409, "Another image was uploaded under this name",
                                    "Make a new release; images of a release are never replaced." },
    [PAG_PROBLEM_IMAGE_REFUSED] = { "image-refused", 422, "The image was refused",
                                    "Build the image again and upload the file as the build left it." },
    [PAG_PROBLEM_MANIFEST_REFUSED] = { "manifest-refused", 422, "The manifest was refused",
                                       "Sign again with a release key of the product's newest trust set." },
    [PAG_PROBLEM_RELEASE_REFUSED] = { "release-refused", 422, "The release cannot be published",
                                      "Mend what 'errors' names, then publish again." },
    [PAG_PROBLEM_RELEASE_STRANDS] = { "release-strands", 409, "Devices would be cut off",
                                      "Publish a release that is signed for their key and brings the next "
                                      "one first; or give strand_anyway a reason." },
    [PAG_PROBLEM_SIGNATURE_REFUSED] = { "signature-refused", 422, "The signature was refused",
                                        "Sign the very file that was uploaded, with a key that is registered "
                                        "for the product: openssl dgst -sha256 -sign." },
    [PAG_PROBLEM_TRUST_REFUSED] = { "trust-refused", 422, "The trust set was refused",
                                    "Extend the newest set and sign with enough roots of the old and the "
                                    "new." },
    [PAG_PROBLEM_CLAIM_REFUSED] = { "claim-refused", 422, "The enrolment code was refused",
                                    "Make a new code with POST /enrollment/codes." },
    [PAG_PROBLEM_PRIVATE_KEY] = { "private-key", 422, "This is a private key",
                                  "Send only the public key. Nothing was stored; treat the key as exposed." },
    [PAG_PROBLEM_INVALID_FIELD] = { "invalid-field", 422, "A field has a value that is not allowed",
                                    "See 'errors' for the field and what it takes." },
    [PAG_PROBLEM_UNKNOWN_FIELD] = { "unknown-field", 422, "The body has a field that is not known",
                                    "Remove the field, or check its spelling." },
    [PAG_PROBLEM_TOO_LARGE] = { "too-large", 413, "The body is too large", "Send less." },
    [PAG_PROBLEM_UNSUPPORTED_TYPE] = { "unsupported-type", 415, "The body's media type is not taken here",
                                       "Send the Content-Type that docs/spec/rest.md names for this call." },
    [PAG_PROBLEM_STALE] = { "stale", 412, "The object has changed meanwhile",
                            "Read the object again and repeat with its new state." },
    [PAG_PROBLEM_RATE_LIMITED] = { "rate-limited", 429, "Too many requests", "Wait as Retry-After says." },
    [PAG_PROBLEM_BUSY] = { "busy", 503, "The server is too busy", "Try again as Retry-After says." },
    [PAG_PROBLEM_DISK_FULL] = { "disk-full", 507, "The server's disk is full",
                                "Free space on the server's data disk, then repeat the upload." },
    [PAG_PROBLEM_INTERNAL] = { "internal", 500, "The server failed",
                               "Look for the request id in the server's log." },
};

const struct pag_problem_row *pag_problem_row(enum pag_problem_code code)
{
    return &rows[code < PAG_PROBLEM_COUNT ? code : PAG_PROBLEM_INTERNAL];
}

void pag_problem_add(struct pag_problem *p, const char *pointer, const char *code, const char *detail)
{
    if (p->error_n < PAG_PROBLEM_ERRORS_MAX) {
        p->error[p->error_n++] =
            (struct pag_problem_error){ .pointer = pointer, .code = code, .detail = detail };
    }
}

struct pag_span pag_problem_render(struct pag_arena *arena, const struct pag_problem *p,
                                   const char *request_id)
{
    const struct pag_problem_row *row = pag_problem_row(p->code);
    json_t *o = json_object();
    json_object_set_new(o, "type", json_sprintf("urn:pagurus:problem:%s", row->code));
    json_object_set_new(o, "title", json_string(row->title));
    json_object_set_new(o, "status",
                        json_integer(p->status != 0 ? (json_int_t)p->status : (json_int_t)row->status));
    json_object_set_new(o, "detail", pag_json_str(p->detail != NULL ? p->detail : row->title));
    json_object_set_new(o, "code", json_string(row->code));
    json_object_set_new(o, "request_id", pag_json_str(request_id));
    json_object_set_new(o, "help", pag_json_str(p->help != NULL ? p->help : row->help));
    if (p->error_n > 0) {
        json_t *errors = json_array();
        for (size_t i = 0; i < p->error_n; i++) {
            json_t *e = json_object();
            json_object_set_new(e, "pointer", pag_json_str(p->error[i].pointer));
            json_object_set_new(e, "code", pag_json_str(p->error[i].code));
            json_object_set_new(e, "detail", pag_json_str(p->error[i].detail));
            json_array_append_new(errors, e);
        }
        json_object_set_new(o, "errors", errors);
    }
    return pag_json_dump(arena, o);
}

void pag_problem_reply(struct pag_http_request *req, const struct pag_problem *p)
{
    const struct pag_problem_row *row = pag_problem_row(p->code);
    struct pag_span body = pag_problem_render(req->arena, p, pag_api_request_id(req));
    struct pag_api_headers headers = { .n = 0 };
    if (row->status == 429 || row->status == 503) {
        char *seconds = pag_arena_printf(req->arena, "%u", p->retry_s > 0 ? p->retry_s : 5);
        pag_api_header(&headers, "Retry-After", seconds);
    }
    if (row->status == 401) {
        pag_api_header(&headers, "WWW-Authenticate", "Bearer");
    }
    pag_api_reply(req, row->status, "application/problem+json", body, &headers);
}

void pag_problem_send(struct pag_http_request *req, enum pag_problem_code code, const char *detail)
{
    struct pag_problem p = { .code = code, .detail = detail };
    pag_problem_reply(req, &p);
}

static enum pag_problem_code code_of_status(unsigned status)
{
    switch (status) {
    case 401:
        return PAG_PROBLEM_UNAUTHENTICATED;
    case 403:
        return PAG_PROBLEM_FORBIDDEN;
    case 404:
        return PAG_PROBLEM_NOT_FOUND;
    case 405:
        return PAG_PROBLEM_METHOD_NOT_ALLOWED;
    case 413:
        return PAG_PROBLEM_TOO_LARGE;
    case 503:
        return PAG_PROBLEM_BUSY;
    case 507:
        return PAG_PROBLEM_DISK_FULL;
    default:
        return status >= 500 ? PAG_PROBLEM_INTERNAL : PAG_PROBLEM_BAD_REQUEST;
    }
}

/* The core's sentences end in a line break and begin small. */
static const char *detail_of(struct pag_http_request *req, struct pag_span text)
{
    size_t n = text.n;
    while (n > 0 && text.p[n - 1] == '\n') {
        n--;
    }
    return n > 0
               ? pag_arena_printf(req->arena, "The request was refused: %.*s.", (int)n, (const char *)text.p)
               : NULL;
}

void pag_problem_refusal(struct pag_http_request *req, struct pag_http_reply *reply)
{
    static const char *const names[][2] = { { "Cache-Control", "no-store" },
                                            { "X-Content-Type-Options", "nosniff" },
                                            { "WWW-Authenticate", "Bearer" },
                                            { "Retry-After", "5" } };
    const struct pag_problem p = { .code = code_of_status(reply->status),
                                   .status = reply->status,
                                   .detail = detail_of(req, reply->body) };
    struct pag_span body = pag_problem_render(req->arena, &p, pag_api_request_id(req));
    struct pag_http_header *header = pag_arena_alloc(req->arena, (reply->header_n + 5) * sizeof *header);
    if (body.p == NULL || header == NULL) {
        return; /* as it is */
    }
    size_t n = reply->header_n;
    for (size_t i = 0; i < n; i++) {
        header[i] = reply->header[i];
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool wanted = i < 2 || (i == 2 && reply->status == 401) || (i == 3 && reply->status == 503);
        if (wanted) {
            header[n++] = (struct pag_http_header){ pag_span_str(names[i][0]), pag_span_str(names[i][1]) };
        }
    }
    reply->header = header;
    reply->header_n = n;
    reply->body = body;
    reply->content_type = "application/problem+json";
}

enum pag_problem_code pag_problem_of(enum pag_err err)
{
    switch (err) {
    case PAG_E_NOT_FOUND:
        return PAG_PROBLEM_NOT_FOUND;
    case PAG_E_EXISTS:
    case PAG_E_CONFLICT:
        return PAG_PROBLEM_CONFLICT;
    case PAG_E_DENIED:
        return PAG_PROBLEM_FORBIDDEN;
    case PAG_E_UNAUTHENTICATED:
        return PAG_PROBLEM_UNAUTHENTICATED;
    case PAG_E_BUSY:
    case PAG_E_AGAIN:
    case PAG_E_TIMEOUT:
    case PAG_E_CLOSED:
        return PAG_PROBLEM_BUSY;
    case PAG_E_SPACE:
        return PAG_PROBLEM_DISK_FULL;
    case PAG_E_LIMIT:
        return PAG_PROBLEM_RATE_LIMITED;
    case PAG_E_STALE:
        return PAG_PROBLEM_STALE;
    case PAG_E_SHORT:
    case PAG_E_RANGE:
    case PAG_E_SYNTAX:
    case PAG_E_MAGIC:
    case PAG_E_CHECKSUM:
    case PAG_E_DIGEST:
    case PAG_E_SIGNATURE:
    case PAG_E_UNSUPPORTED:
    case PAG_E_PRODUCT:
    case PAG_E_HARDWARE:
    case PAG_E_ROLLBACK:
    case PAG_E_EXPIRED:
    case PAG_E_BLOCKED:
    case PAG_E_CONDITION:
        return PAG_PROBLEM_INVALID_FIELD;
    case PAG_OK:
    case PAG_E_IO:
    case PAG_E_NO_MEMORY:
    case PAG_E_TLS:
    case PAG_E_CONFIG:
    case PAG_E_INTERNAL:
        break;
    }
    return PAG_PROBLEM_INTERNAL;
}
