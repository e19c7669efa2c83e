#ifndef PAG_SERVER_STORE_MIGRATE_H
#define PAG_SERVER_STORE_MIGRATE_H

#include "server/store/db.h"

/* Files of migrations/, compiled in by cmake/pag_embed.cmake. */
extern const struct pag_span pag_asset__0001_slice_sql;
extern const struct pag_span pag_asset__0002_sweep_sql;
extern const struct pag_span pag_asset__0003_judge_sql;
extern const struct pag_span pag_asset__0006_secureesp_sql;
extern const struct pag_span pag_asset__0004_shown_sql;
extern const struct pag_span pag_asset__0005_signatures_sql;
extern const struct pag_span pag_asset__0007_field_sql;
extern const struct pag_span pag_asset__0008_relay_sql;
extern const struct pag_span pag_asset__0009_broker_sql;
extern const struct pag_span pag_asset__0010_enrollment_sql;
extern const struct pag_span pag_asset__0011_clone_sql;
extern const struct pag_span pag_asset__0012_command_sql;

uint32_t pag_migrate_newest(void);
/* 0: an empty database. */
enum pag_err pag_migrate_version(struct pag_db *db, uint32_t *version);
/* Each step in a transaction of its own. PAG_E_UNSUPPORTED: newer than this build; nothing is changed. */
enum pag_err pag_migrate_up(struct pag_db *db, struct pag_fail *why);

#endif
