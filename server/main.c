/* pagurusd: one table of verbs, one of options. What the daemon is made of is in daemon.c. */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "server/program.h"

struct verb {
    const char *name;
    int (*run)(const struct pag_args *args);
    const char *help;
};

static const struct verb verbs[] = {
    { "init", pag_verb_init,
      "make the data folder: certificate authorities, server certificate, admin token" },
    { "run", pag_verb_run, "serve" },
    { "check-config", pag_verb_check_config,
      "read the configuration and say what is wrong (--print, --manual)" },
    { "setup-token", pag_verb_setup_token, "make an access token (--role, --name, --ttl)" },
    { "confirm-root-export", pag_verb_confirm_root_export,
      "say that root-export.pem is in a safe place (--keep: it stays here)" },
    { "renew-server-cert", pag_verb_renew_server_cert, "new key and certificate of the server (--names)" },
    { "migrate", pag_verb_migrate, "bring the database to this version" },
    { "version", pag_verb_version, "print the version" },
};

enum option_type { OPTION_TEXT, OPTION_FLAG, OPTION_SET };

struct option_row {
    const char *name;
    enum option_type type;
    size_t offset;
    const char *help;
};

#define AT(member) offsetof(struct pag_args, member)

static const struct option_row options[] = {
    { "--config", OPTION_TEXT, AT(config),
      "FILE  configuration; else $PAGURUS_CONFIG, /etc/pagurus/pagurusd.ini" },
    { "--data", OPTION_TEXT, AT(data), "DIR  data folder" },
    { "--set", OPTION_SET, AT(set), "SECTION.KEY=VALUE  one setting; may be repeated" },
    { "--names", OPTION_TEXT, AT(names),
      "A,B  init, renew-server-cert: names and addresses devices use, the main one first" },
    { "--organisation", OPTION_TEXT, AT(organisation), "TEXT  init: shown in the root certificate" },
    { "--passphrase-file", OPTION_TEXT, AT(passphrase_file),
      "FILE|-|fd:N  init: protects the exported root key" },
    { "--role", OPTION_TEXT, AT(role), "ROLE  setup-token: viewer, operator, releaser, admin (default)" },
    { "--name", OPTION_TEXT, AT(name), "TEXT  setup-token: what the token is for" },
    { "--ttl", OPTION_TEXT, AT(ttl), "DURATION  setup-token: 30d (default), 12h …" },
    { "--print", OPTION_FLAG, AT(print), "check-config: all settings in force" },
    { "--manual", OPTION_FLAG, AT(manual), "check-config: the reference of all settings" },
    { "--keep", OPTION_FLAG, AT(keep), "confirm-root-export: the export stays in the data folder" },
    { "--json", OPTION_FLAG, AT(json), "init, setup-token, version: machine-readable" },
};

enum { VERBS = sizeof verbs / sizeof verbs[0], OPTIONS = sizeof options / sizeof options[0] };

static void usage(FILE *out)
{
    (void)fputs("pagurusd init --data ./var --names ota.example.org\n"
                "pagurusd run --data ./var\n"
                "pagurusd check-config --print\n\n",
                out);
    for (size_t i = 0; i < VERBS; i++) {
        (void)fprintf(out, "  %-19s %s\n", verbs[i].name, verbs[i].help);
    }
    (void)fputc('\n', out);
    for (size_t i = 0; i < OPTIONS; i++) {
        (void)fprintf(out, "  %-18s %s\n", options[i].name, options[i].help);
    }
}

static const struct option_row *option_find(const char *arg, size_t n)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strlen(options[i].name) == n && memcmp(options[i].name, arg, n) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

/* "--name value" or "--name=value". Returns the number of words used, 0 after having said what is wrong. */
static int option_take(struct pag_args *args, const char *word, const char *next)
{
    const char *equals = strchr(word, '=');
    size_t n = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct option_row *row = option_find(word, n);
    if (row == NULL) {
        pag_say_error(0, "'pagurusd --help' lists the options.", "unknown option %s", word);
        return 0;
    }
    char *field = (char *)args + row->offset;
    if (row->type == OPTION_FLAG) {
        *(bool *)field = true;
        return 1;
    }
    const char *value = equals != NULL ? equals + 1 : next;
    if (value == NULL) {
        pag_say_error(0, NULL, "%s needs a value", row->name);
        return 0;
    }
    if (row->type == OPTION_TEXT) {
        memcpy(field, &value, sizeof value);
    } else if (args->set_n == PAG_ARGS_SET_MAX) {
        pag_say_error(0, "Put them into a file and use --config.", "more than %d --set", PAG_ARGS_SET_MAX);
        return 0;
    } else {
        args->set[args->set_n++] = value;
    }
    return equals != NULL ? 1 : 2;
}

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

/* One word of the command line. Returns the number of words used, 0 after having said what is wrong. */
static int word_take(char **word, struct pag_args *args, const struct verb **verb)
{
    if (word[0][0] == '-') {
        return option_take(args, word[0], word[1]);
    }
    if (*verb != NULL) {
        (void)pag_say_error(0, "One verb at a time.", "unexpected argument %s", word[0]);
        return 0;
    }
    *verb = verb_find(word[0]);
    if (*verb == NULL) {
        (void)pag_say_error(0, "'pagurusd --help' lists the verbs.", "unknown verb %s", word[0]);
        return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    struct pag_args args = { .config = NULL };
    const struct verb *verb = NULL;

    /* Keys are in memory: no core files, no other process of this user may look. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)umask(077);
    for (int i = 1; i < argc;) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "help") == 0) {
            usage(stdout);
            return PAG_EXIT_OK;
        }
        int used = word_take(&argv[i], &args, &verb);
        if (used == 0) {
            return PAG_EXIT_USAGE;
        }
        i += used;
    }
    if (verb == NULL) {
        usage(stderr);
        return PAG_EXIT_USAGE;
    }
    return verb->run(&args);
}
