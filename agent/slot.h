#ifndef PAG_AGENT_SLOT_H
#define PAG_AGENT_SLOT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "agent/port.h"

/*
 * A slot: the image from its first byte on, and in its last sector what the image is. docs/porting/flash.md.
 *   +0     the release manifest (COSE_Sign1) verbatim, or a factory record written with the first image
 *   +1024  note: the server's action id that brought the image (magic, id, CRC-32)
 * The last sector is programmed last, the manifest last of all.
 */

enum {
    PAG_SLOT_NOTE_AT = 1024,
    PAG_SLOT_NOTE_BYTES = 12,
    PAG_SLOT_FACTORY_BYTES = 60, /* magic[8], size, sequence, epoch (u32 LE), SHA-256, reserved u32, CRC-32 */
    PAG_SLOT_WORK_BYTES = 1536,  /* scratch that reading a manifest takes */
};

struct pag_slot {
    bool factory;
    uint32_t size; /* of the image */
    uint32_t sequence, epoch;
    uint32_t action_id; /* 0: none noted */
    uint8_t digest[PAG_SHA256_BYTES];
    uint8_t manifest_digest[PAG_SHA256_BYTES]; /* SHA-256 of the COSE bytes; zeros for a factory image */
    char version[PAG_VERSION_MAX + 1];         /* "" for a factory image */
};

/* 0 = A, 1 = B */
enum pag_area pag_slot_area(uint8_t slot);
uint32_t pag_slot_room(const struct pag_port *port, uint8_t slot); /* bytes for an image */

/*
 * What the slot's last sector says; nothing is verified but form (signatures are checked before it is
 * written). work: PAG_SLOT_WORK_BYTES, aligned to 8. PAG_E_NOT_FOUND blank or torn, PAG_E_IO.
 */
enum pag_err pag_slot_read(const struct pag_port *port, uint8_t slot, struct pag_buf work,
                           struct pag_slot *out);

/* Makes the factory record of an image; out is appended PAG_SLOT_FACTORY_BYTES. For tools and tests. */
enum pag_err pag_slot_factory_put(const struct pag_slot *s, struct pag_buf *out);

/* Erases the last sector and programs note and manifest. PAG_E_IO also when reading back differs. */
enum pag_err pag_slot_seal(const struct pag_port *port, uint8_t slot, uint32_t action_id,
                           struct pag_span manifest, struct pag_buf work);
/* Erases the last sector unless it reads blank: the slot holds nothing any more. */
enum pag_err pag_slot_unseal(const struct pag_port *port, uint8_t slot);

/* SHA-256 over the first size bytes of a slot, in steps of one chunk. */
struct pag_slot_hash {
    struct pag_sha256 h;
    uint32_t at, size;
    uint8_t slot;
};
enum pag_err pag_slot_hash_begin(struct pag_slot_hash *s, const struct pag_port *port, uint8_t slot,
                                 uint32_t size);
/* PAG_E_AGAIN, PAG_OK: digest is written; PAG_E_IO. chunk: at least 256 bytes. */
enum pag_err pag_slot_hash_step(struct pag_slot_hash *s, const struct pag_port *port, struct pag_buf chunk,
                                uint8_t digest[PAG_SHA256_BYTES]);

#endif
