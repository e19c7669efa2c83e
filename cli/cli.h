#ifndef PAG_CLI_CLI_H
#define PAG_CLI_CLI_H

#include <jansson.h>
#include <stdio.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/arena.h"
#include "host/clock.h"

/*
 * One run of the command line. Everything allocated lives until the run ends: texts in the arena, JSON by
 * pag_cli_keep. stdout carries data only; messages, prompts and progress go to stderr.
 */

/* Stable, printed in every man page. */
enum pag_exit {
    PAG_EXIT_OK = 0,
    PAG_EXIT_FAILED = 1,
    PAG_EXIT_USAGE = 2,
    PAG_EXIT_NOT_FOUND = 3,
    PAG_EXIT_DENIED = 4,
    PAG_EXIT_CONFLICT = 5,
    PAG_EXIT_UNREACHABLE = 6,
    PAG_EXIT_TIMEOUT = 7,
    PAG_EXIT_ENDED_BADLY = 8,
    PAG_EXIT_INTERRUPTED = 130,
};

struct pag_cli;

struct pag_flag {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    const char *arg;  /* name of the value for help; NULL: a switch */
    const char *help;
};

/* One row a command: dispatch, help, completion and the test of the man pages all read it. */
struct pag_command {
    const char *path;             /* "device list" */
    const char *usage;            /* positional arguments, for help */
    const char *brief;            /* one line */
    const char *examples;         /* lines, shown first in --help */
    const struct pag_flag *flags; /* ends with name NULL; may be NULL */
    const char *values; /* what a positional is, for completion: "device", "product" …; may be NULL */
    uint8_t min_words;
    uint8_t max_words;
    bool raw;         /* everything after the command goes through untouched */
    bool minus_words; /* "-x" is a word here, not a flag (device tag ID +a -b) */
    bool hidden;
    int (*run)(struct pag_cli *cli);
};

/* The table; ends with path NULL. */
const struct pag_command *pag_commands(void);
/* Flags that every command knows; ends with name NULL. */
const struct pag_flag *pag_global_flags(void);

struct pag_option {
    const char *name;
    const char *value; /* "" for a switch */
};

enum { PAG_CLI_OPTIONS = 64, PAG_CLI_WORDS = 64 };

/* Where to and as whom; filled by pag_conf_load. */
struct pag_conf {
    const char *context; /* "" when none */
    const char *server;  /* "https://host:port" without a slash at the end; NULL when none */
    const char *ca;      /* PEM file to pin; NULL: the system's store */
    const char *token;   /* NULL until pag_conf_token */
    bool own_server;     /* server comes from the context, so its token may be sent there */
};

struct pag_cli {
    const char *program; /* argv[0] */
    const struct pag_command *command;
    char path[64]; /* words of the command read so far */
    struct pag_option option[PAG_CLI_OPTIONS];
    size_t option_n;
    const char *word[PAG_CLI_WORDS];
    size_t word_n;
    char **rest; /* raw commands: remaining argv, NULL-terminated */
    bool want_help;
    bool json;
    bool jsonl;
    bool quiet;
    bool no_input;
    bool yes;
    int verbose;
    uint64_t timeout_ms;
    bool in_tty, out_tty, err_tty;
    bool color_out, color_err;
    struct pag_conf set;
    bool set_loaded;
    struct pag_clock clock;
    struct pag_arena_pool *pool;
    struct pag_arena *arena;
    json_t *kept; /* array that owns every JSON value of the run */
    void *curl;   /* client.c */
};

/* The whole program. Returns the exit code. */
int pag_cli_main(int argc, char **argv);
void pag_cli_open(struct pag_cli *cli);
void pag_cli_close(struct pag_cli *cli);
/* Splits argv into command, options and words. Says what is wrong and returns PAG_EXIT_USAGE. */
int pag_cli_parse(struct pag_cli *cli, int argc, char **argv);

/* Value of an option of this run: NULL when absent, "" for a switch. at: 0 is the first of that name. */
const char *pag_opt(const struct pag_cli *cli, const char *name);
const char *pag_opt_at(const struct pag_cli *cli, const char *name, size_t at);
bool pag_opt_on(const struct pag_cli *cli, const char *name);
/* Positional i or NULL. */
const char *pag_word(const struct pag_cli *cli, size_t i);
/* Decimal option: PAG_EXIT_OK with *out set (to fallback when absent), or PAG_EXIT_USAGE and said so. */
int pag_opt_number(struct pag_cli *cli, const char *name, uint64_t fallback, uint64_t *out);
/* Duration option ("90s", "5m", "2h", "7d") in seconds; as pag_opt_number. */
int pag_opt_seconds(struct pag_cli *cli, const char *name, uint64_t fallback, uint64_t *out);

/* Text in the arena; ends the program when memory is out (a run never goes on half-done). */
char *pag_cli_text(struct pag_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *pag_cli_alloc(struct pag_cli *cli, size_t n);
/*
 * For loops without an end: what is allocated and kept after begin is let go by end. Settings and token must
 * have been loaded before. Nested rounds are not possible.
 */
struct pag_arena *pag_cli_round_begin(struct pag_cli *cli);
void pag_cli_round_end(struct pag_cli *cli, struct pag_arena *outer);
/* Takes the reference of v and keeps it until the run ends. Returns v; NULL passes. */
json_t *pag_cli_keep(struct pag_cli *cli, json_t *v);

/*
 * Says what failed and what to do about it, on stderr; as problem+json with --json or --jsonl. remedy may be
 * NULL. Returns code, so that a caller can `return pag_cli_fail(…)`.
 */
int pag_cli_fail(struct pag_cli *cli, int code, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/*
 * Says which file could not be read or written, what the system said and what to do. why: of a pag_fs_ call.
 * Returns code.
 */
int pag_cli_fail_file(struct pag_cli *cli, int code, const char *path, const struct pag_fail *why);
/* Message for people on stderr; not with --quiet. No newline is added. */
void pag_cli_say(const struct pag_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pag_cli_warn(const struct pag_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* help.c */
void pag_help_command(const struct pag_command *c);
/* Overview of the commands below prefix ("" for all). */
void pag_help_group(const char *prefix);
/* Nearest command word below prefix ("" = first words), or NULL when nothing is near. */
const char *pag_help_nearest(const char *prefix, const char *word);

#endif
