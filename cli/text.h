#ifndef PAG_CLI_TEXT_H
#define PAG_CLI_TEXT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* Edits (insert, drop, replace, swap of neighbours) from a to b; words longer than 63 bytes count as far. */
unsigned pag_text_distance(const char *a, const char *b);
/* The nearest of names within a third of the word's length (at least 2 edits), or NULL. */
const char *pag_text_nearest(const char *word, const char *const *names, size_t n);

/* 912400 -> "912.4 kB" (powers of 1000). */
void pag_text_bytes(uint64_t bytes, char out[24]);
/* "90s", "5m", "2h", "7d" or plain seconds -> ms. PAG_E_SYNTAX, PAG_E_RANGE over 100 years. */
enum pag_err pag_text_duration(const char *text, uint64_t *ms);
/* RFC 3339 UTC -> Unix s. PAG_E_SYNTAX. */
enum pag_err pag_text_unix(const char *rfc3339, int64_t *unix_s);
/* RFC 3339 UTC -> local time with zone for people; the text itself when it is no time. out[40]. */
void pag_text_local(const char *rfc3339, char out[40]);

/*
 * Copy of text in which nothing can drive a terminal: control characters, C1 and broken UTF-8 become "\xNN".
 * Returns the bytes written without the NUL; never past cap (>= 1), never half a character.
 */
size_t pag_text_clean(const char *text, char *out, size_t cap);
/* Characters shown, taken as one column a code point. */
size_t pag_text_columns(const char *text);

void pag_text_hex(struct pag_span bytes, char *out); /* 2n digits + NUL */
/* Standard base64 with padding of at most 64 bytes into out[92]. */
void pag_text_base64(struct pag_span bytes, char out[92]);

/* 1..64 bytes of [A-Za-z0-9._-], not beginning with '.' or '-': safe as a file name. */
bool pag_text_name_ok(const char *name);

#endif
