#include "server/store/migrate.h"

#include <stdlib.h>
#include <string.h>

static const struct pag_span *const steps[] = {
    &pag_asset__0001_slice_sql,      &pag_asset__0002_sweep_sql,      &pag_asset__0003_judge_sql,
    &pag_asset__0004_shown_sql,      &pag_asset__0005_signatures_sql, &pag_asset__0006_secureesp_sql,
    &pag_asset__0007_field_sql,      &pag_asset__0008_relay_sql,      &pag_asset__0009_broker_sql,
    &pag_asset__0010_enrollment_sql, &pag_asset__0011_clone_sql,      &pag_asset__0012_command_sql,
};

uint32_t pag_migrate_newest(void)
{
    return (uint32_t)(sizeof steps / sizeof steps[0]);
}

/* A database without the table is empty: preparing fails then, and nothing is changed. */
enum pag_err pag_migrate_version(struct pag_db *db, uint32_t *version)
{
    struct pag_q q = pag_q_of(db, "SELECT COALESCE(MAX(version), 0) FROM schema_version");
    uint32_t found = pag_q_row(&q) ? (uint32_t)pag_q_get_int(&q) : 0;
    enum pag_err err = pag_q_end(&q);
    if (err == PAG_OK || err == PAG_E_INTERNAL) {
        *version = found;
        return PAG_OK;
    }
    return err;
}

static enum pag_err step_up(struct pag_db *db, uint32_t to)
{
    struct pag_span text = *steps[to - 1];
    char *sql = malloc(text.n + 1);
    if (sql == NULL) {
        return PAG_E_NO_MEMORY;
    }
    memcpy(sql, text.p, text.n);
    sql[text.n] = '\0';
    enum pag_err err = pag_db_exec(db, "BEGIN");
    if (err == PAG_OK) {
        err = pag_db_exec(db, sql);
        if (err == PAG_OK) {
            struct pag_q q = pag_q_of(db, "INSERT INTO schema_version (version) VALUES (?)");
            pag_q_int(&q, to);
            err = pag_q_run(&q, NULL);
        }
        if (err == PAG_OK) {
            err = pag_db_exec(db, "COMMIT");
        }
        if (err != PAG_OK) {
            (void)pag_db_exec(db, "ROLLBACK");
        }
    }
    free(sql);
    return err;
}

enum pag_err pag_migrate_up(struct pag_db *db, struct pag_fail *why)
{
    uint32_t version = 0;
    enum pag_err err =
        pag_db_exec(db, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY)");
    if (err == PAG_OK) {
        err = pag_migrate_version(db, &version);
    }
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "schema version cannot be read", 0);
    }
    if (version > pag_migrate_newest()) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED,
                            "the database is of a newer pagurusd; there is no way down", version);
    }
    while (version < pag_migrate_newest()) {
        err = step_up(db, version + 1);
        if (err != PAG_OK) {
            return pag_fail_set(why, err, "migration failed", version + 1);
        }
        version++;
    }
    return PAG_OK;
}
