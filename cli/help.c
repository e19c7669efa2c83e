#include <string.h>

#include "cli/cli.h"
#include "cli/text.h"

static void print_flags(const struct pag_flag *flags)
{
    for (const struct pag_flag *f = flags; f != NULL && f->name != NULL; f++) {
        char left[48];
        char letter[8] = "    ";
        if (f->letter != 0) {
            (void)snprintf(letter, sizeof letter, "-%c, ", f->letter);
        }
        (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, f->name, f->arg != NULL ? " " : "",
                       f->arg != NULL ? f->arg : "");
        (void)printf("  %-30s %s\n", left, f->help);
    }
}

static void print_lines(const char *text, const char *indent)
{
    while (text != NULL && *text != 0) {
        size_t n = strcspn(text, "\n");
        (void)printf("%s%.*s\n", indent, (int)n, text);
        text += n + (text[n] == '\n');
    }
}

#define COUNTS                                                                                               \
    "Counts are of updates, one each time that a device was offered the release:\n"                          \
    "  CONFIRMED  it runs, has found itself healthy and said so\n"                                           \
    "  FAILED     it could not be fetched or written, or the device refused it (signature, chip, order)\n"   \
    "  REVERTED   it was started and the device went back to what it ran before"

/* What the columns of a command mean, where their headings do not say it. */
static const struct {
    const char *path, *text;
} notes[] = {
    { "release list", COUNTS },
    { "release show", COUNTS },
};

static void print_notes(const char *path)
{
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
        if (strcmp(notes[i].path, path) == 0) {
            (void)printf("\n%s\n", notes[i].text);
        }
    }
}

void pag_help_command(const struct pag_command *c)
{
    (void)printf("Examples:\n");
    print_lines(c->examples, "  $ ");
    (void)printf("\n%s\n\nUsage: pagurus %s%s%s%s\n", c->brief, c->path, c->usage != NULL ? " " : "",
                 c->usage != NULL ? c->usage : "", c->flags != NULL ? " [flags]" : "");
    if (c->flags != NULL) {
        (void)printf("\nFlags:\n");
        print_flags(c->flags);
    }
    print_notes(c->path);
    (void)printf("\nGlobal flags:\n");
    print_flags(pag_global_flags());
    char noun[32];
    size_t n = strcspn(c->path, " ");
    (void)snprintf(noun, sizeof noun, "%.*s", (int)n, c->path);
    (void)printf(
        "\nExit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 conflict, 6 unreachable,\n"
        "7 time over, 8 ended failed. More: man pagurus%s%s\n",
        c->path[n] == ' ' ? "-" : "", c->path[n] == ' ' ? noun : "");
}

static bool below(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);
    return n == 0 || (strncmp(path, prefix, n) == 0 && path[n] == ' ');
}

void pag_help_group(const char *prefix)
{
    if (prefix[0] == 0) {
        (void)printf("Examples:\n"
                     "  $ pagurus login https://ota.example.net:8443\n"
                     "  $ pagurus release push firmware.bin --sign ci-2026\n"
                     "  $ pagurus device list --json | jq '.items[].id'\n\n"
                     "Signed firmware updates and device management for ESP fleets.\n\n");
    }
    (void)printf("Commands:\n");
    for (const struct pag_command *c = pag_commands(); c->path != NULL; c++) {
        if (!c->hidden && below(c->path, prefix)) {
            (void)printf("  %-24s %s\n", c->path, c->brief);
        }
    }
    if (prefix[0] == 0) {
        (void)printf("\nGlobal flags:\n");
        print_flags(pag_global_flags());
    }
    (void)printf("\npagurus COMMAND --help shows examples and flags of one.\n");
}

const char *pag_help_nearest(const char *prefix, const char *word)
{
    static char words[128][24]; /* the answer points here; one thread */
    const char *names[128];
    size_t n = 0;
    size_t skip = prefix[0] == 0 ? 0 : strlen(prefix) + 1;
    for (const struct pag_command *c = pag_commands(); c->path != NULL && n < 128; c++) {
        if (c->hidden || !below(c->path, prefix)) {
            continue;
        }
        size_t len = strcspn(c->path + skip, " ");
        (void)snprintf(words[n], sizeof words[n], "%.*s", (int)len, c->path + skip);
        names[n] = words[n];
        n++;
    }
    return pag_text_nearest(word, names, n);
}
