#ifndef PAG_HOST_INI_H
#define PAG_HOST_INI_H

#include <stdbool.h>
#include <stdio.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Settings from an INI file (inih), a table and a plain struct. The table is the only list of keys: reading,
 * printing with defaults, the manual page and the check for unknown keys all come from it.
 */
enum pag_ini_type {
    PAG_INI_TEXT,     /* char[size] */
    PAG_INI_BOOL,     /* bool: yes no true false on off 1 0 */
    PAG_INI_NUMBER,   /* uint32_t in min..max */
    PAG_INI_PORT,     /* uint16_t; 0: the kernel picks */
    PAG_INI_BYTES,    /* uint64_t in min..max; suffix K M G (1024) */
    PAG_INI_DURATION, /* uint32_t seconds in min..max; suffix s m h d, none: s */
    PAG_INI_CHOICE,   /* uint32_t: index into words */
};

struct pag_ini_key {
    const char *section;
    const char *key;
    enum pag_ini_type type;
    const char *preset;       /* the default, as it would be written in a file */
    const char *doc;          /* one or two sentences, no line breaks */
    size_t offset;            /* of the field in the settings struct */
    size_t size;              /* of the field: TEXT only */
    uint64_t min, max;        /* NUMBER, BYTES, DURATION; max 0: no limit beyond the type's */
    const char *const *words; /* CHOICE: NULL-terminated */
    /* Further check of a value that has the right shape (NULL: none): NULL when fine, else why not (literal).
     */
    const char *(*check)(const char *value);
};

struct pag_ini_table {
    const struct pag_ini_key *keys;
    size_t n;
    /* One sentence for each section, for the manual: pairs section, text; NULL-terminated. */
    const char *const *sections;
};

struct pag_ini_error {
    char text[512]; /* "pagurusd.ini:12: unknown key \"prot\" in [mqtt]; did you mean \"port\"?" */
    unsigned line;  /* 0: not about a line */
};

/* Sets every field to its preset. settings: zeroed or used before. PAG_E_INTERNAL when a preset is not
 * acceptable. */
enum pag_err pag_ini_presets(const struct pag_ini_table *table, void *settings, struct pag_ini_error *error);

/* Reads text (NUL-terminated) over what is there. name: what messages call it. Unknown section, unknown key,
 * a key twice, bad value, a line over 1150 bytes: PAG_E_CONFIG with error filled; settings may then be partly
 * changed. */
enum pag_err pag_ini_read_text(const struct pag_ini_table *table, const char *name, const char *text,
                               void *settings, struct pag_ini_error *error);
/* The same from a file of at most 1 MiB; PAG_E_NOT_FOUND when there is none. */
enum pag_err pag_ini_read_file(const struct pag_ini_table *table, const char *path, void *settings,
                               struct pag_ini_error *error);

/*
 * Takes <prefix>_<SECTION>_<KEY> (upper case) from the environment. A variable with the prefix and the name
 * of a section that matches no key is PAG_E_CONFIG.
 */
enum pag_err pag_ini_read_env(const struct pag_ini_table *table, const char *prefix, void *settings,
                              struct pag_ini_error *error);

/* One value, as if it stood in a file. name: "section.key". what: how messages call its origin ("--set"). */
enum pag_err pag_ini_set(const struct pag_ini_table *table, const char *name, const char *value,
                         const char *what, void *settings, struct pag_ini_error *error);

/* All keys with their present values as an INI file; docs: with each key's text as a comment. */
void pag_ini_print(const struct pag_ini_table *table, const void *settings, bool docs, FILE *out);
/* The reference as Markdown: a table of keys a section, with type, default and text. */
void pag_ini_print_markdown(const struct pag_ini_table *table, FILE *out);

#endif
