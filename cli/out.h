#ifndef PAG_CLI_OUT_H
#define PAG_CLI_OUT_H

#include "cli/cli.h"

enum pag_cell {
    PAG_CELL_TEXT,  /* as it is; null and absent are "-" */
    PAG_CELL_TIME,  /* RFC 3339: local time for people */
    PAG_CELL_BYTES, /* 912.4 kB */
    PAG_CELL_STATE, /* coloured, always with its word */
    PAG_CELL_COUNT, /* members of an array */
    PAG_CELL_SHORT, /* first 12 characters on a terminal */
};

struct pag_column {
    const char *name; /* heading; NULL ends a list */
    const char *path; /* "running.version" */
    enum pag_cell cell;
};

/*
 * A list of the API: people get columns (aligned and cut to the terminal; tab-separated in a pipe), --json
 * one document, --jsonl a line each. Follows cursors up to --limit (default 100) or all with --all. path may
 * carry a query.
 */
int pag_out_api_list(struct pag_cli *cli, const char *path, const struct pag_column *columns);
/* The same for items at hand. */
int pag_out_items(struct pag_cli *cli, json_t *items, const struct pag_column *columns);
/* One object: "name: value" lines, or JSON. */
int pag_out_object(struct pag_cli *cli, const json_t *object, const struct pag_column *lines);
/* JSON of any shape for --json/--jsonl. True when it was printed, so that the caller prints nothing else. */
bool pag_out_json(const struct pag_cli *cli, const json_t *v);

/* Member by dotted path, NULL when absent. */
json_t *pag_out_at(const json_t *v, const char *path);
/* Text of a member, "" when it is none. */
const char *pag_out_text(const json_t *v, const char *path);
/* Whole non-negative number of a member, 0 when it is none. */
uint64_t pag_out_number(const json_t *v, const char *path);

/* Columns of the terminal, 80 when unknown. */
size_t pag_out_width(void);

#endif
