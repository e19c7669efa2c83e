#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/text.h"

enum { BUDGET_MS = 200 };

/* ---- scripts ---- */

static const char bash_script[] =
    "# pagurus completion bash > /etc/bash_completion.d/pagurus\n"
    "_pagurus() {\n"
    "    local IFS=$'\\n'\n"
    "    COMPREPLY=( $(pagurus __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null) )\n"
    "    [[ ${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=( $(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\") )\n"
    "}\n"
    "complete -o filenames -F _pagurus pagurus\n";

static const char zsh_script[] =
    "#compdef pagurus\n"
    "# pagurus completion zsh > \"${fpath[1]}/_pagurus\"\n"
    "_pagurus() {\n"
    "    local -a found\n"
    "    found=(\"${(@f)$(pagurus __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
    "    if (( ${#found} )) && [[ -n ${found[1]} ]]; then\n"
    "        compadd -- \"${found[@]}\"\n"
    "    else\n"
    "        _files\n"
    "    fi\n"
    "}\n"
    "compdef _pagurus pagurus\n";

static const char fish_script[] = "# pagurus completion fish > ~/.config/fish/completions/pagurus.fish\n"
                                  "function __pagurus_complete\n"
                                  "    set -l words (commandline -opc) (commandline -ct)\n"
                                  "    pagurus __complete $words[2..-1] 2>/dev/null\n"
                                  "end\n"
                                  "complete -c pagurus -a '(__pagurus_complete)'\n";

int pag_cmd_completion(struct pag_cli *cli)
{
    const char *shell = pag_word(cli, 0);
    const char *script = strcmp(shell, "bash") == 0   ? bash_script
                         : strcmp(shell, "zsh") == 0  ? zsh_script
                         : strcmp(shell, "fish") == 0 ? fish_script
                                                      : NULL;
    if (script == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "bash, zsh or fish", "no completion for \"%s\"", shell);
    }
    (void)fputs(script, stdout);
    return PAG_EXIT_OK;
}

/* ---- candidates ---- */

static void offer(const char *candidate, const char *begun)
{
    char clean[256];
    if (candidate[0] != 0 && strncmp(candidate, begun, strlen(begun)) == 0) {
        (void)pag_text_clean(candidate, clean, sizeof clean);
        (void)puts(clean);
    }
}

static void offer_commands(const char *prefix, const char *begun)
{
    char last[32] = "";
    size_t n = strlen(prefix);
    for (const struct pag_command *c = pag_commands(); c->path != NULL; c++) {
        if (c->hidden || strncmp(c->path, prefix, n) != 0 || (n > 0 && c->path[n] != ' ')) {
            continue;
        }
        const char *word = c->path + n + (n > 0);
        char next[32];
        (void)snprintf(next, sizeof next, "%.*s", (int)strcspn(word, " "), word);
        if (strcmp(next, last) != 0) { /* rows of one noun stand together */
            offer(next, begun);
            memcpy(last, next, sizeof last);
        }
    }
}

static void offer_flags(const struct pag_flag *flags, const char *begun)
{
    for (const struct pag_flag *f = flags; f != NULL && f->name != NULL; f++) {
        char text[40];
        (void)snprintf(text, sizeof text, "--%s", f->name);
        offer(text, begun);
    }
}

static void offer_api(struct pag_cli *cli, const char *path, const char *member, const char *begun)
{
    struct pag_answer a;
    size_t i = 0;
    const json_t *item = NULL;
    struct pag_call call = { .method = "GET", .path = path, .silent = true, .once = true };
    if (pag_client_call(cli, &call, &a) != PAG_EXIT_OK) {
        return;
    }
    json_array_foreach(json_object_get(a.json, "items"), i, item)
    {
        offer(pag_out_text(item, member), begun);
    }
}

static void offer_values(struct pag_cli *cli, const char *values, const char *begun)
{
    static const char *const shells[] = { "bash", "zsh", "fish" };
    if (strcmp(values, "device") == 0) {
        offer_api(cli, pag_cli_text(cli, "/devices?limit=50&q=%s", pag_client_escape(cli, begun)), "id",
                  begun);
    } else if (strcmp(values, "product") == 0) {
        offer_api(cli, "/products", "name", begun);
    } else if (strcmp(values, "release") == 0) {
        offer_api(cli, "/releases?limit=50", "id", begun);
    } else if (strcmp(values, "context") == 0) {
        struct pag_contexts *all = pag_cli_alloc(cli, sizeof *all);
        (void)pag_contexts_read(cli, all);
        for (size_t i = 0; i < all->n; i++) {
            offer(all->list[i].name, begun);
        }
    } else if (strcmp(values, "shell") == 0) {
        for (size_t i = 0; i < 3; i++) {
            offer(shells[i], begun);
        }
    }
}

/* Words before the last one are complete; the last is what is being typed. */
int pag_cmd_complete(struct pag_cli *cli)
{
    struct pag_cli typed;
    size_t n = 0;
    while (cli->rest[n] != NULL) {
        n++;
    }
    const char *begun = n > 0 ? cli->rest[n - 1] : "";
    char **argv = pag_cli_alloc(cli, (n + 2) * sizeof *argv);
    argv[0] = pag_cli_text(cli, "pagurus");
    memcpy(argv + 1, cli->rest, (n > 0 ? n - 1 : 0) * sizeof *argv);
    pag_cli_open(&typed);
    typed.quiet = true;
    int rc = pag_cli_parse(&typed, (int)(n > 0 ? n : 1), argv);
    (void)rc; /* half a command line is what this is for: a missing argument is no error */
    typed.timeout_ms = BUDGET_MS;
    if (begun[0] == '-') {
        offer_flags(typed.command == NULL ? NULL : typed.command->flags, begun);
        offer_flags(pag_global_flags(), begun);
    } else if (typed.command == NULL) {
        offer_commands(typed.path, begun);
    } else if (typed.command->values != NULL) {
        offer_values(&typed, typed.command->values, begun);
    }
    pag_cli_close(&typed);
    return PAG_EXIT_OK;
}

/* ---- the table for tests and packagers ---- */

static json_t *flags_json(const struct pag_flag *flags)
{
    json_t *list = json_array();
    for (const struct pag_flag *f = flags; f != NULL && f->name != NULL; f++) {
        char letter[2] = { f->letter, 0 };
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:s}", "name", f->name, "letter",
                                                    letter, "arg", f->arg, "help", f->help));
    }
    return list;
}

int pag_cmd_table(struct pag_cli *cli)
{
    json_t *rows = json_array();
    for (const struct pag_command *c = pag_commands(); c->path != NULL; c++) {
        if (!c->hidden) {
            (void)json_array_append_new(rows,
                                        json_pack("{s:s, s:s, s:s, s:s, s:o}", "path", c->path, "usage",
                                                  c->usage != NULL ? c->usage : "", "brief", c->brief,
                                                  "examples", c->examples, "flags", flags_json(c->flags)));
        }
    }
    json_t *doc = pag_cli_keep(
        cli, json_pack("{s:o, s:o}", "commands", rows, "global", flags_json(pag_global_flags())));
    (void)json_dumpf(doc, stdout, JSON_INDENT(1));
    (void)fputc('\n', stdout);
    return PAG_EXIT_OK;
}
