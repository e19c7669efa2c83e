#ifndef PAG_SERVER_API_LEGACY_HTTP_TAG_H
#define PAG_SERVER_API_LEGACY_HTTP_TAG_H

#include "server/api/legacy_http/serve.h"

/* ?tag=, as squix's and EmonESP's PHP scripts answered it: docs/spec/legacy-http.md 3. */
void pag_tag_serve(struct pag_http_request *req, const struct pag_mount_at *at);

/*
 * The tag of a query, at any place in it: what follows "tag=" up to the next '&' or '?', as sent. False:
 * there is none, or it is empty.
 */
bool pag_tag_of(struct pag_span query, struct pag_span *tag);

/* Takes a tag as the version that runs: the reading that is a version of ours, else as it was sent. */
void pag_tag_take(struct pag_serve *s, struct pag_span tag);

enum pag_tag_form { PAG_TAG_RAW, PAG_TAG_ESCAPES, PAG_TAG_PLUS, PAG_TAG_FORMS };
/*
 * One reading of a tag: as sent; with %XX decoded; with '+' as a blank besides. out: NUL-terminated. False:
 * too long, or it has control bytes then.
 */
bool pag_tag_read(struct pag_span tag, enum pag_tag_form form, char out[PAG_DEVICE_ID_MAX + 1]);

#endif
