#ifndef PAG_RELAY_WEB_H
#define PAG_RELAY_WEB_H

#include <curl/curl.h>

#include "relay/session.h"

/* HTTP with a device's pages, for web.c and tasmota.c. */

enum {
    PAG_WEB_BODY_MAX = 64 << 10, /* of any answer; what comes after is not read */
    PAG_WEB_TEXT = 100,
    PAG_WEB_JSON_DEPTH = 16,
};

/* One request and what came of it. Zeroed, then o and r set; used again for the next request. */
struct pag_web_talk {
    const struct pag_push_order *o;
    struct pag_push_result *r; /* NULL: no progress */
    long status;               /* 0: no answer */
    size_t n;                  /* of body */
    bool uploads;
    char body[PAG_WEB_BODY_MAX + 1]; /* ends with NUL */
    char error[CURL_ERROR_SIZE];
};

/* "http://192.168.1.40:80" and path into out[cap]. PAG_E_SPACE, or as pag_push_resolve. */
enum pag_err pag_web_url(const struct pag_push_order *o, const char *path, char *out, size_t cap);
CURLcode pag_web_get(CURL *c, struct pag_web_talk *a, const char *url);
/* o->image as a file of a form; field: its name; file: the name it says it has. */
CURLcode pag_web_post(CURL *c, struct pag_web_talk *a, const char *url, const char *field, const char *file);
/* Sets r: a request that ended with rc and had no answer. */
enum pag_err pag_web_lost(const struct pag_web_talk *a, CURLcode rc, struct pag_push_result *r);

bool pag_web_holds(struct pag_span s, const char *word);
/* The text of a page: without tags, on one line, at most cap - 1 bytes. */
void pag_web_words(struct pag_span page, char *out, size_t cap);
/* True when a JSON text is nested deeper than PAG_WEB_JSON_DEPTH: jansson recurses. */
bool pag_web_too_deep(struct pag_span json);

#endif
