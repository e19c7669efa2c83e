#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/text.h"
#include "core/bytes.h"

enum { ARENA_CEILING = 256 << 20, ARENA_KEEP = 1 << 20 };

void pag_cli_open(struct pag_cli *cli)
{
    memset(cli, 0, sizeof *cli);
    cli->timeout_ms = 30000;
    cli->clock = pag_clock_system();
    cli->pool = pag_arena_pool_new(ARENA_KEEP);
    cli->arena = cli->pool == NULL ? NULL : pag_arena_open(cli->pool, ARENA_CEILING);
    cli->kept = json_array();
    cli->set.context = "";
    if (cli->arena == NULL || cli->kept == NULL) {
        (void)fprintf(stderr, "error: no memory\n");
        exit(PAG_EXIT_FAILED);
    }
}

void pag_cli_close(struct pag_cli *cli)
{
    pag_client_close(cli);
    json_decref(cli->kept);
    pag_arena_close(cli->arena);
    pag_arena_pool_free(cli->pool);
}

char *pag_cli_text(struct pag_cli *cli, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = n < 0 ? NULL : pag_cli_alloc(cli, (size_t)n + 1);
    if (text == NULL) {
        exit(PAG_EXIT_FAILED);
    }
    va_list again;
    va_start(again, fmt);
    (void)vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

void *pag_cli_alloc(struct pag_cli *cli, size_t n)
{
    void *p = pag_arena_alloc(cli->arena, n);
    if (p == NULL) {
        (void)fprintf(stderr, "error: no memory for %zu bytes\n", n);
        exit(PAG_EXIT_FAILED);
    }
    return p;
}

struct pag_arena *pag_cli_round_begin(struct pag_cli *cli)
{
    struct pag_arena *outer = cli->arena;
    struct pag_arena *inner = pag_arena_open(cli->pool, ARENA_CEILING);
    if (inner == NULL) {
        (void)fprintf(stderr, "error: no memory\n");
        exit(PAG_EXIT_FAILED);
    }
    cli->arena = inner;
    return outer;
}

void pag_cli_round_end(struct pag_cli *cli, struct pag_arena *outer)
{
    pag_arena_close(cli->arena);
    cli->arena = outer;
    (void)json_array_clear(cli->kept);
}

json_t *pag_cli_keep(struct pag_cli *cli, json_t *v)
{
    if (v != NULL && json_array_append_new(cli->kept, v) != 0) {
        return NULL;
    }
    return v;
}

const char *pag_opt_at(const struct pag_cli *cli, const char *name, size_t at)
{
    for (size_t i = 0; i < cli->option_n; i++) {
        if (strcmp(cli->option[i].name, name) == 0 && at-- == 0) {
            return cli->option[i].value;
        }
    }
    return NULL;
}

const char *pag_opt(const struct pag_cli *cli, const char *name)
{
    const char *last = NULL;
    for (size_t i = 0; i < cli->option_n; i++) {
        if (strcmp(cli->option[i].name, name) == 0) {
            last = cli->option[i].value;
        }
    }
    return last;
}

bool pag_opt_on(const struct pag_cli *cli, const char *name)
{
    return pag_opt(cli, name) != NULL;
}

const char *pag_word(const struct pag_cli *cli, size_t i)
{
    return i < cli->word_n ? cli->word[i] : NULL;
}

int pag_opt_number(struct pag_cli *cli, const char *name, uint64_t fallback, uint64_t *out)
{
    const char *text = pag_opt(cli, name);
    *out = fallback;
    if (text != NULL && pag_parse_u64(pag_span_str(text), out) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "--%s wants a whole number, not \"%s\"", name, text);
    }
    return PAG_EXIT_OK;
}

int pag_opt_seconds(struct pag_cli *cli, const char *name, uint64_t fallback, uint64_t *out)
{
    const char *text = pag_opt(cli, name);
    uint64_t ms = 0;
    *out = fallback;
    if (text == NULL) {
        return PAG_EXIT_OK;
    }
    if (pag_text_duration(text, &ms) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL,
                            "--%s wants a duration such as 90s, 5m, 2h or 7d, not \"%s\"", name, text);
    }
    *out = ms / 1000;
    return PAG_EXIT_OK;
}

/* ---- parsing ---- */

static bool has_group(const char *prefix)
{
    size_t n = strlen(prefix);
    for (const struct pag_command *c = pag_commands(); c->path != NULL; c++) {
        if (strncmp(c->path, prefix, n) == 0 && c->path[n] == ' ') {
            return true;
        }
    }
    return false;
}

static const struct pag_command *exact(const char *path)
{
    for (const struct pag_command *c = pag_commands(); c->path != NULL; c++) {
        if (strcmp(c->path, path) == 0) {
            return c;
        }
    }
    return NULL;
}

static int take_command_word(struct pag_cli *cli, const char *word)
{
    char next[sizeof cli->path];
    int n = snprintf(next, sizeof next, "%s%s%s", cli->path, cli->path[0] != 0 ? " " : "", word);
    bool fits = n > 0 && (size_t)n < sizeof next;
    cli->command = fits ? exact(next) : NULL;
    if (cli->command == NULL && (!fits || !has_group(next))) {
        const char *near = pag_help_nearest(cli->path, word);
        const char *gap = cli->path[0] != 0 ? " " : "";
        const char *fix = near == NULL
                              ? pag_cli_text(cli, "pagurus %s%s--help lists them", cli->path, gap)
                              : pag_cli_text(cli, "did you mean: pagurus %s%s%s", cli->path, gap, near);
        return pag_cli_fail(cli, PAG_EXIT_USAGE, fix, "no command \"pagurus %s%s%s\"", cli->path, gap, word);
    }
    memcpy(cli->path, next, sizeof next);
    return PAG_EXIT_OK;
}

static const struct pag_flag *find_flag(const struct pag_flag *flags, const char *name, size_t n, char letter)
{
    for (const struct pag_flag *f = flags; f != NULL && f->name != NULL; f++) {
        bool long_hit = name != NULL && strlen(f->name) == n && strncmp(f->name, name, n) == 0;
        if (long_hit || (letter != 0 && f->letter == letter)) {
            return f;
        }
    }
    return NULL;
}

static const struct pag_flag *known_flag(const struct pag_cli *cli, const char *name, size_t n, char letter)
{
    const struct pag_flag *own = cli->command == NULL ? NULL : cli->command->flags;
    const struct pag_flag *f = find_flag(own, name, n, letter);
    return f != NULL ? f : find_flag(pag_global_flags(), name, n, letter);
}

static int unknown_flag(struct pag_cli *cli, const char *arg)
{
    const char *names[64];
    size_t n = 0;
    const struct pag_flag *lists[2] = { cli->command == NULL ? NULL : cli->command->flags,
                                        pag_global_flags() };
    for (size_t i = 0; i < 2; i++) {
        for (const struct pag_flag *f = lists[i]; f != NULL && f->name != NULL && n < 64; f++) {
            names[n++] = f->name;
        }
    }
    const char *near = pag_text_nearest(arg + strspn(arg, "-"), names, n);
    const char *fix = near != NULL ? pag_cli_text(cli, "did you mean --%s?", near)
                                   : pag_cli_text(cli, "pagurus %s --help lists the flags", cli->path);
    return pag_cli_fail(cli, PAG_EXIT_USAGE, fix, "unknown flag \"%s\"", arg);
}

static int add_option(struct pag_cli *cli, const struct pag_flag *f, const char *value)
{
    if (cli->option_n == PAG_CLI_OPTIONS) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "more than %d flags", PAG_CLI_OPTIONS);
    }
    cli->option[cli->option_n++] = (struct pag_option){ f->name, value };
    return PAG_EXIT_OK;
}

/* "--name=value", "--name value". *i moves on when the value is the next argument. */
static int take_long(struct pag_cli *cli, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    const char *eq = strchr(name, '=');
    size_t n = eq == NULL ? strlen(name) : (size_t)(eq - name);
    const struct pag_flag *f = known_flag(cli, name, n, 0);
    if (f == NULL) {
        return unknown_flag(cli, argv[*i]);
    }
    if (f->arg == NULL) {
        return eq == NULL ? add_option(cli, f, "")
                          : pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "--%s takes no value", f->name);
    }
    const char *value = eq != NULL ? eq + 1 : argv[*i + 1];
    if (value == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, f->help, "--%s wants a value: %s", f->name, f->arg);
    }
    *i += eq == NULL;
    return add_option(cli, f, value);
}

static int take_short_value(struct pag_cli *cli, const struct pag_flag *f, const char *rest, char **argv,
                            int *i)
{
    const char *value = rest[0] != 0 ? rest : argv[*i + 1];
    if (value == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, f->help, "-%c wants a value: %s", f->letter, f->arg);
    }
    *i += rest[0] == 0;
    return add_option(cli, f, value);
}

/* "-q", "-vv", "-o FILE", "-oFILE". */
static int take_short(struct pag_cli *cli, char **argv, int *i)
{
    int rc = PAG_EXIT_OK;
    for (const char *p = argv[*i] + 1; rc == PAG_EXIT_OK && *p != 0; p++) {
        const struct pag_flag *f = known_flag(cli, NULL, 0, *p);
        if (f == NULL) {
            return unknown_flag(cli, argv[*i]);
        }
        if (f->arg != NULL) {
            return take_short_value(cli, f, p + 1, argv, i);
        }
        rc = add_option(cli, f, "");
    }
    return rc;
}

static int take_word(struct pag_cli *cli, const char *word)
{
    if (cli->command == NULL) {
        return take_command_word(cli, word);
    }
    if (cli->word_n == PAG_CLI_WORDS) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "more than %d arguments", PAG_CLI_WORDS);
    }
    cli->word[cli->word_n++] = word;
    return PAG_EXIT_OK;
}

static bool is_flag(const struct pag_cli *cli, const char *arg)
{
    if (arg[0] != '-' || arg[1] == 0) {
        return false;
    }
    return arg[1] == '-' || cli->command == NULL || !cli->command->minus_words;
}

static int read_args(struct pag_cli *cli, int argc, char **argv)
{
    bool words_only = false;
    for (int i = 1; i < argc; i++) {
        int rc = PAG_EXIT_OK;
        if (cli->command != NULL && cli->command->raw) {
            cli->rest = argv + i;
            return rc;
        }
        if (words_only || !is_flag(cli, argv[i])) {
            rc = take_word(cli, argv[i]);
        } else if (strcmp(argv[i], "--") == 0) {
            words_only = true;
        } else if (argv[i][1] == '-') {
            rc = take_long(cli, argv, &i);
        } else {
            rc = take_short(cli, argv, &i);
        }
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
    }
    cli->rest = argv + argc;
    return PAG_EXIT_OK;
}

static int set_color(struct pag_cli *cli)
{
    const char *mode = pag_opt(cli, "color");
    const char *no = getenv("NO_COLOR");
    const char *force = getenv("CLICOLOR_FORCE");
    const char *term = getenv("TERM");
    bool off = (no != NULL && no[0] != 0) || (term != NULL && strcmp(term, "dumb") == 0);
    bool on = force != NULL && force[0] != 0 && strcmp(force, "0") != 0;
    cli->color_out = on || (cli->out_tty && !off);
    cli->color_err = on || (cli->err_tty && !off);
    if (mode == NULL || strcmp(mode, "auto") == 0) {
        return PAG_EXIT_OK;
    }
    bool always = strcmp(mode, "always") == 0;
    if (!always && strcmp(mode, "never") != 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--color auto, always or never", "no colour mode \"%s\"",
                            mode);
    }
    cli->color_out = always;
    cli->color_err = always;
    return PAG_EXIT_OK;
}

static int set_globals(struct pag_cli *cli)
{
    const char *timeout = pag_opt(cli, "timeout");
    cli->want_help = pag_opt_on(cli, "help");
    cli->jsonl = pag_opt_on(cli, "jsonl");
    cli->json = pag_opt_on(cli, "json") && !cli->jsonl;
    cli->quiet = pag_opt_on(cli, "quiet");
    cli->no_input = pag_opt_on(cli, "no-input");
    cli->yes = pag_opt_on(cli, "yes");
    while (pag_opt_at(cli, "verbose", (size_t)cli->verbose) != NULL) {
        cli->verbose++;
    }
    if (timeout != NULL && (pag_text_duration(timeout, &cli->timeout_ms) != PAG_OK || cli->timeout_ms == 0)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "--timeout wants a duration such as 30s, not \"%s\"",
                            timeout);
    }
    return set_color(cli);
}

static int check_words(struct pag_cli *cli)
{
    const struct pag_command *c = cli->command;
    if (cli->word_n < c->min_words || cli->word_n > c->max_words) {
        return pag_cli_fail(
            cli, PAG_EXIT_USAGE,
            pag_cli_text(cli, "usage: pagurus %s %s", c->path, c->usage != NULL ? c->usage : ""),
            "pagurus %s: %s", c->path,
            cli->word_n < c->min_words ? "an argument is missing" : "too many arguments");
    }
    return PAG_EXIT_OK;
}

int pag_cli_parse(struct pag_cli *cli, int argc, char **argv)
{
    int rc = read_args(cli, argc, argv);
    if (rc == PAG_EXIT_OK) {
        rc = set_globals(cli);
    }
    if (rc == PAG_EXIT_OK && cli->command != NULL && !cli->want_help && !cli->command->raw) {
        rc = check_words(cli);
    }
    return rc;
}

static int run(struct pag_cli *cli)
{
    if (cli->command == NULL) {
        if (pag_opt_on(cli, "version")) {
            (void)printf("pagurus %s\n", PAGURUS_VERSION);
        } else {
            pag_help_group(cli->path);
        }
        return PAG_EXIT_OK;
    }
    if (cli->want_help) {
        pag_help_command(cli->command);
        return PAG_EXIT_OK;
    }
    return cli->command->run(cli);
}

/* "pagurus help X Y" is "pagurus X Y --help". */
static void rewrite_help(int argc, char **argv)
{
    static char flag[] = "--help";
    if (argc >= 2 && strcmp(argv[1], "help") == 0) {
        for (int i = 1; i + 1 < argc; i++) {
            argv[i] = argv[i + 1];
        }
        argv[argc - 1] = flag;
    }
}

int pag_cli_main(int argc, char **argv)
{
    struct pag_cli cli;
    (void)signal(SIGPIPE, SIG_IGN);
    pag_cli_open(&cli);
    cli.program = argc > 0 ? argv[0] : "pagurus";
    cli.in_tty = isatty(STDIN_FILENO) == 1;
    cli.out_tty = isatty(STDOUT_FILENO) == 1;
    cli.err_tty = isatty(STDERR_FILENO) == 1;
    rewrite_help(argc, argv);
    int rc = pag_cli_parse(&cli, argc, argv);
    if (rc == PAG_EXIT_OK) {
        rc = run(&cli);
    }
    /* A reader that went away (| head) is no failure of ours; a full disk is. */
    if (fflush(stdout) != 0 && errno != EPIPE && rc == PAG_EXIT_OK) {
        rc = pag_cli_fail(&cli, PAG_EXIT_FAILED, "is the disk full?", "the output could not be written");
    }
    pag_cli_close(&cli);
    return rc;
}
