#include "core/bytes.h"
#include "core/image_parts.h"

/* Offsets of the ELF header and of program headers (System V ABI, chapters 4 and 5), by class. */
struct elf_layout {
    uint8_t head_bytes;
    uint8_t word; /* bytes of an address */
    uint8_t phoff;
    uint8_t phentsize;
    uint8_t phnum;
    uint8_t ph_bytes;
    uint8_t p_offset;
    uint8_t p_filesz;
};

static const struct elf_layout elf32 = { 52, 4, 28, 42, 44, 32, 4, 16 };
static const struct elf_layout elf64 = { 64, 8, 32, 54, 56, 56, 8, 32 };

enum { ELF_CLASS_AT = 4, ELF_DATA_AT = 5, ELF_TYPE_AT = 16, ELF_ENTRY_AT = 24, ELF_IDENT = 20, PT_LOAD = 1 };

/* Address-sized number; SIZE_MAX for one that no file reaches. */
static size_t word_at(const struct elf_layout *l, const uint8_t *p)
{
    if (l->word == 8 && pag_u32le(p + 4) != 0) {
        return SIZE_MAX;
    }
    return pag_u32le(p);
}

/* Program header at at: inside the file, and what it loads too. */
static enum pag_err check_segment(struct pag_span file, const struct elf_layout *l, size_t at, bool *loads,
                                  struct pag_fail *why)
{
    struct pag_span head = { 0 };
    struct pag_span data = { 0 };
    if (pag_span_sub(file, at, l->ph_bytes, &head) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SHORT, "elf: program header is beyond the end, offset", at);
    }
    if (pag_u32le(head.p) != PT_LOAD) {
        return PAG_OK;
    }
    *loads = true;
    size_t offset = word_at(l, head.p + l->p_offset);
    size_t filled = word_at(l, head.p + l->p_filesz);
    if (pag_span_sub(file, offset, filled, &data) != PAG_OK) {
        return pag_fail_set(why, PAG_E_SHORT, "elf: segment reaches beyond the end, offset", at);
    }
    return PAG_OK;
}

static enum pag_err check_segments(struct pag_span file, const struct elf_layout *l, struct pag_fail *why)
{
    size_t at = word_at(l, file.p + l->phoff);
    uint16_t n = pag_u16le(file.p + l->phnum);
    bool loads = false;
    if (pag_u16le(file.p + l->phentsize) != l->ph_bytes) {
        return pag_fail_set(why, PAG_E_SYNTAX, "elf: size of a program header, offset", l->phentsize);
    }
    for (uint16_t i = 0; i < n; i++) {
        enum pag_err err = check_segment(file, l, at, &loads, why);
        if (err != PAG_OK) {
            return err;
        }
        at += l->ph_bytes;
    }
    return loads ? PAG_OK : pag_fail_set(why, PAG_E_SYNTAX, "elf: nothing to load, program headers", n);
}

enum pag_err pag_image_elf_read(struct pag_span file, struct pag_image *out, struct pag_fail *why)
{
    if (file.n < ELF_IDENT) {
        return pag_fail_set(why, PAG_E_SHORT, "elf: header cut off, bytes", file.n);
    }
    uint8_t class = file.p[ELF_CLASS_AT];
    if ((class != 1 && class != 2) || file.p[ELF_DATA_AT] != 1) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "elf: class or byte order, offset", ELF_CLASS_AT);
    }
    const struct elf_layout *l = class == 1 ? &elf32 : &elf64;
    if (file.n < l->head_bytes) {
        return pag_fail_set(why, PAG_E_SHORT, "elf: header cut off, bytes", file.n);
    }
    uint16_t type = pag_u16le(file.p + ELF_TYPE_AT);
    if (type != 2 && type != 3) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "elf: not an executable, type", type);
    }
    enum pag_err err = check_segments(file, l, why);
    if (err != PAG_OK) {
        return err;
    }
    out->kind = PAG_IMAGE_ELF;
    out->chip = PAG_CHIP_POSIX;
    out->entry = pag_u32le(file.p + ELF_ENTRY_AT);
    out->payload_bytes = file.n;
    return PAG_OK;
}
