#ifndef PAG_SERVER_API_BASIC_H
#define PAG_SERVER_API_BASIC_H

#include "host/http.h"

/*
 * User and password that a request names with Basic (RFC 7617), in its arena; the password ends where the
 * text ends, so it may hold colons. PAG_E_NOT_FOUND: no Authorization, both are as they were. PAG_E_SYNTAX:
 * another scheme, no base64, no colon, or longer than 256 bytes. PAG_E_NO_MEMORY.
 */
enum pag_err pag_api_basic(struct pag_http_request *req, struct pag_span *user, struct pag_span *password);

#endif
