#ifndef PAG_HOST_UNCONST_H
#define PAG_HOST_UNCONST_H

#include <string.h>

/*
 * The same address without const: for libraries whose parameters lack a const they honour (execve, zlib, EVP
 * reference counts), and for freeing what only its owner may change.
 */
static inline void *pag_unconst(const void *p)
{
    void *out = NULL;
    memcpy(&out, &p, sizeof out);
    return out;
}

#endif
