#ifndef PAG_HOST_GZIP_H
#define PAG_HOST_GZIP_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* gzip (RFC 1952) on zlib, bounded in memory, output and ratio. One member only; trailing bytes are refused.
 */

struct pag_gunzip_config {
    uint64_t out_max;   /* bytes of output; more is PAG_E_LIMIT */
    uint32_t ratio_max; /* output / input so far, checked beyond the first 64 KiB of output; 0: 20 */
    /* Gets the output in pieces of at most 32 KiB; anything but PAG_OK stops and is returned. */
    enum pag_err (*sink)(void *ctx, struct pag_span piece);
    void *ctx;
};

struct pag_gunzip; /* about 80 KiB whatever the input */

struct pag_gunzip *pag_gunzip_new(const struct pag_gunzip_config *config); /* NULL: no memory */
/* Any slicing of the input. PAG_E_MAGIC (not gzip), PAG_E_SYNTAX, PAG_E_CHECKSUM, PAG_E_LIMIT, or the sink's.
 */
enum pag_err pag_gunzip_feed(struct pag_gunzip *z, struct pag_span in);
/* PAG_OK when the stream was complete, PAG_E_SHORT when it is cut. */
enum pag_err pag_gunzip_finish(const struct pag_gunzip *z);
uint64_t pag_gunzip_out_bytes(const struct pag_gunzip *z);
void pag_gunzip_free(struct pag_gunzip *z); /* NULL is fine */

bool pag_gzip_is(struct pag_span head); /* starts like gzip (1f 8b 08) */

/* The whole of in at once into out (allocated there; free() it). */
enum pag_err pag_gunzip_all(struct pag_span in, uint64_t out_max, uint32_t ratio_max, struct pag_buf *out);

/* Packs with level 9, no name, time 0: same input, same bytes. out->p is allocated; free() it. */
enum pag_err pag_gzip_pack(struct pag_span in, struct pag_buf *out);

#endif
