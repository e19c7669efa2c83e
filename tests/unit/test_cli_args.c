#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"

enum { ARGS_MAX = 96 };

/* Parses words (NULL-terminated) into a fresh run. */
static int parse(struct pag_cli *cli, const char *const *words)
{
    static char text[ARGS_MAX][64];
    static char *argv[ARGS_MAX + 1];
    int n = 1;
    argv[0] = text[0];
    for (size_t i = 0; words[i] != NULL && n < ARGS_MAX; i++) {
        (void)snprintf(text[n], sizeof text[n], "%s", words[i]);
        argv[n] = text[n];
        n++;
    }
    argv[n] = NULL;
    pag_cli_open(cli);
    return pag_cli_parse(cli, n, argv);
}

#define PARSE(cli, ...) parse((cli), (const char *const[]){ __VA_ARGS__, NULL })

static void flags_may_stand_anywhere_and_be_joined(void **state)
{
    struct pag_cli cli;
    (void)state;
    assert_int_equal(PARSE(&cli, "--json", "device", "-q", "list", "--limit=5", "-vv", "-fpump"),
                     PAG_EXIT_OK);
    assert_string_equal(cli.command->path, "device list");
    assert_true(cli.json && cli.quiet);
    assert_int_equal(cli.verbose, 2);
    assert_string_equal(pag_opt(&cli, "limit"), "5");
    assert_string_equal(pag_opt(&cli, "find"), "pump");
    assert_null(pag_opt(&cli, "state"));
    pag_cli_close(&cli);
}

static void the_last_of_a_flag_wins_and_all_can_be_read(void **state)
{
    struct pag_cli cli;
    (void)state;
    assert_int_equal(PARSE(&cli, "key", "trust", "create", "--root", "a", "--root", "b", "-p", "x"),
                     PAG_EXIT_OK);
    assert_string_equal(pag_opt(&cli, "root"), "b");
    assert_string_equal(pag_opt_at(&cli, "root", 0), "a");
    assert_string_equal(pag_opt_at(&cli, "root", 1), "b");
    assert_null(pag_opt_at(&cli, "root", 2));
    pag_cli_close(&cli);
}

static void minus_words_are_tags_and_two_dashes_end_flags(void **state)
{
    struct pag_cli cli;
    (void)state;
    assert_int_equal(PARSE(&cli, "device", "tag", "pump", "+a", "-q", "--json"), PAG_EXIT_OK);
    assert_int_equal(cli.word_n, 3);
    assert_string_equal(cli.word[2], "-q");
    assert_true(cli.json && !cli.quiet);
    pag_cli_close(&cli);
    assert_int_equal(PARSE(&cli, "device", "rename", "pump", "--", "--json"), PAG_EXIT_OK);
    assert_string_equal(cli.word[1], "--json");
    assert_false(cli.json);
    pag_cli_close(&cli);
}

static void sim_gets_its_words_untouched(void **state)
{
    struct pag_cli cli;
    (void)state;
    assert_int_equal(PARSE(&cli, "sim", "run", "--devices", "5", "--json"), PAG_EXIT_OK);
    assert_string_equal(cli.rest[0], "run");
    assert_string_equal(cli.rest[3], "--json");
    assert_false(cli.json);
    pag_cli_close(&cli);
}

static void what_is_wrong_is_a_usage_error(void **state)
{
    struct pag_cli cli;
    (void)state;
    assert_int_equal(PARSE(&cli, "device", "list", "--limit"), PAG_EXIT_USAGE);
    pag_cli_close(&cli);
    assert_int_equal(PARSE(&cli, "device", "list", "--all=5"), PAG_EXIT_USAGE);
    pag_cli_close(&cli);
    assert_int_equal(PARSE(&cli, "device", "show"), PAG_EXIT_USAGE);
    pag_cli_close(&cli);
    assert_int_equal(PARSE(&cli, "whoami", "--timeout", "soon"), PAG_EXIT_USAGE);
    pag_cli_close(&cli);
    assert_int_equal(PARSE(&cli, "whoami", "--color", "pink"), PAG_EXIT_USAGE);
    pag_cli_close(&cli);
}

static void more_words_than_there_is_room_for_are_refused(void **state)
{
    struct pag_cli cli;
    const char *words[ARGS_MAX] = { "device", "tag", "pump" };
    (void)state;
    for (size_t i = 3; i < ARGS_MAX - 1; i++) {
        words[i] = "+a";
    }
    assert_int_equal(parse(&cli, words), PAG_EXIT_USAGE);
    pag_cli_close(&cli);
    for (size_t i = 1; i < ARGS_MAX - 1; i++) {
        words[i] = "-q";
    }
    words[0] = "whoami";
    assert_int_equal(parse(&cli, words), PAG_EXIT_USAGE);
    pag_cli_close(&cli);
}

static void the_table_is_sound(void **state)
{
    (void)state;
    for (const struct pag_command *c = pag_commands(); c->path != NULL; c++) {
        size_t n = strlen(c->path);
        assert_true(n < sizeof((struct pag_cli *)0)->path);
        assert_non_null(c->run);
        assert_true(c->min_words <= c->max_words);
        for (const struct pag_command *d = pag_commands(); d->path != NULL; d++) {
            assert_true(c == d || strcmp(c->path, d->path) != 0);
            /* A row that runs is no group of others, or its words could not be told from verbs. */
            assert_false(strncmp(d->path, c->path, n) == 0 && d->path[n] == ' ');
        }
        for (const struct pag_flag *f = c->flags; f != NULL && f->name != NULL; f++) {
            for (const struct pag_flag *g = pag_global_flags(); g->name != NULL; g++) {
                assert_true(strcmp(f->name, g->name) != 0 || strcmp(f->name, "version") == 0);
                assert_true(f->letter == 0 || f->letter != g->letter);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_may_stand_anywhere_and_be_joined),
        cmocka_unit_test(the_last_of_a_flag_wins_and_all_can_be_read),
        cmocka_unit_test(minus_words_are_tags_and_two_dashes_end_flags),
        cmocka_unit_test(sim_gets_its_words_untouched),
        cmocka_unit_test(what_is_wrong_is_a_usage_error),
        cmocka_unit_test(more_words_than_there_is_room_for_are_refused),
        cmocka_unit_test(the_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
