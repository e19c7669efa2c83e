#ifndef PAG_CORE_BYTES_H
#define PAG_CORE_BYTES_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* ---- spans ---- */
struct pag_span pag_span_of(const void *p, size_t n);
struct pag_span pag_span_str(const char *text); /* without the NUL; NULL gives the empty span */
bool pag_span_eq(struct pag_span a, struct pag_span b);
bool pag_span_eq_str(struct pag_span a, const char *text);
bool pag_span_eq_nocase(struct pag_span a, const char *text); /* ASCII only */
bool pag_span_starts(struct pag_span a, const char *prefix);

/* Bytes [off, off+n) of s. PAG_E_RANGE if they are not all inside; *out is written only on success. */
enum pag_err pag_span_sub(struct pag_span s, size_t off, size_t n, struct pag_span *out);

/* First place of byte c at or after from; s.n when there is none. */
size_t pag_span_find(struct pag_span s, size_t from, uint8_t c);

/* Same bytes in constant time for equal lengths (secrets, digests). */
bool pag_equal_ct(const void *a, const void *b, size_t n);

/* ---- numbers in memory ---- */
uint16_t pag_u16le(const uint8_t *p);
uint32_t pag_u32le(const uint8_t *p);
uint16_t pag_u16be(const uint8_t *p);
uint32_t pag_u32be(const uint8_t *p);
void pag_put_u16le(uint8_t *p, uint16_t v);
void pag_put_u32le(uint8_t *p, uint32_t v);
void pag_put_u32be(uint8_t *p, uint32_t v);

/* ---- checked arithmetic: PAG_E_RANGE on overflow, *out untouched then ---- */
enum pag_err pag_size_add(size_t a, size_t b, size_t *out);
enum pag_err pag_size_mul(size_t a, size_t b, size_t *out);
enum pag_err pag_u32_add(uint32_t a, uint32_t b, uint32_t *out);

/* ---- appending; PAG_E_SPACE leaves the buffer as it was ---- */
enum pag_err pag_buf_put(struct pag_buf *b, struct pag_span s);
enum pag_err pag_buf_put_str(struct pag_buf *b, const char *text);
enum pag_err pag_buf_put_u8(struct pag_buf *b, uint8_t v);
enum pag_err pag_buf_put_dec(struct pag_buf *b, uint64_t v);
enum pag_err pag_buf_put_hex(struct pag_buf *b, struct pag_span s); /* lower-case */
struct pag_span pag_buf_span(const struct pag_buf *b);

/* ---- text to numbers; the whole span must be digits: PAG_E_SYNTAX, PAG_E_RANGE ---- */
enum pag_err pag_parse_u32(struct pag_span s, uint32_t *out);
enum pag_err pag_parse_u64(struct pag_span s, uint64_t *out);
enum pag_err pag_parse_hex(struct pag_span s, uint8_t *out, size_t n); /* exactly 2n digits, either case */

/* Copies s into a NUL-terminated array of cap bytes. PAG_E_SPACE if it does not fit, PAG_E_SYNTAX on a NUL
 * inside. */
enum pag_err pag_text_copy(char *dst, size_t cap, struct pag_span s);

/* Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
bool pag_utf8_ok(struct pag_span s);

/* CRC-32 (IEEE 802.3, reflected, init and final xor 0xFFFFFFFF); crc = 0 to start, or the last result to go
 * on. */
uint32_t pag_crc32(uint32_t crc, struct pag_span s);

/* SipHash-2-4 is host/; this one is stable across builds, for buckets and shards, not for hostile keys.
 * FNV-1a over the salt (4 bytes, little-endian) and s, then MurmurHash3's fmix32. */
uint32_t pag_hash32(struct pag_span s, uint32_t salt);

/* ---- identifiers ---- */
bool pag_device_id_ok(struct pag_span s);  /* [0-9a-z-]{1,64} */
bool pag_image_name_ok(struct pag_span s); /* [a-z0-9-]{1,16} */

/* "AA:BB:CC:DD:EE:FF", "aabbccddeeff" or with '-' -> 12 lower-case hex digits + NUL. */
enum pag_err pag_mac_text(struct pag_span s, char out[13]);

#endif
