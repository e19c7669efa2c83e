#ifndef PAG_SERVER_API_LEGACY_HTTP_FILENAME_H
#define PAG_SERVER_API_LEGACY_HTTP_FILENAME_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "server/domain/file.h"

/* What is asked for below a mount of kind files: docs/spec/legacy-http.md 4. Pure. */

enum pag_file_what {
    PAG_FILE_IMAGE,
    PAG_FILE_MD5,      /* "….md5": of the file before it */
    PAG_FILE_SIG,      /* "….sig": the detached signature of the file before it */
    PAG_FILE_MANIFEST, /* "manifest.json" */
};

struct pag_file_request {
    enum pag_file_what what;
    char name[PAG_FILE_NAME_MAX + 1]; /* "" : the mount itself, or kept beside it */
    char mac[13];                     /* a segment, or mac= or id= of the query, that is a MAC; else "" */
};

/*
 * rest: what follows the mount, as sent; %XX are read. beside: it follows without a '/', as ".md5" of a mount
 * that is one file. PAG_E_SYNTAX: not a file name, or too deep (8
 * segments). PAG_E_NOT_FOUND: what is never served, whatever it is called (keys, certificates,
 * configuration).
 */
enum pag_err pag_file_request_read(struct pag_span rest, bool beside, struct pag_span query,
                                   struct pag_file_request *out);

#endif
