#ifndef PAG_CORE_VERSION_H
#define PAG_CORE_VERSION_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* Version texts as people write them. Authority on a device is the manifest's sequence, never this. */
enum pag_version_scheme {
    PAG_VERSION_SEMVER, /* 1.2.3-rc.1+build, also v1.2.3 and 1.2 (missing parts are 0) */
    PAG_VERSION_SECURE, /* NAME-00.00.08.g: NAME must be equal, then numbers, then the letter */
    PAG_VERSION_PLAIN,  /* anything else: natural order (digit runs as numbers) */
};

enum pag_version_scheme pag_version_scheme_of(struct pag_span v);

/*
 * *order: <0, 0, >0. PAG_E_CONFLICT when not comparable: different schemes, or different NAMEs. SemVer 2.0.0
 * 11. Within a scheme (and NAME) it is a total order; equal are "1.2", "v1.2.0" and "1.2.0+build".
 */
enum pag_err pag_version_compare(struct pag_span a, struct pag_span b, int *order);

/* 1..32 printable ASCII bytes without space, quotes or backslash. */
bool pag_version_ok(struct pag_span v);

#endif
