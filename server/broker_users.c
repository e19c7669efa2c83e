#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "host/unconst.h"
#include "server/broker_priv.h"

/* Clients with a password: who they are, what they may do, and the two files made of it. */

void pag_broker_users_free(struct pag_broker_users *u)
{
    for (size_t i = 0; i < u->n; i++) {
        free(pag_unconst(u->user[i].name));
        free(pag_unconst(u->user[i].hash));
        pag_broker_rights_free(pag_unconst(u->user[i].right), u->user[i].right_n);
    }
    free(u->user);
    pag_broker_rights_free(u->own, u->own_n);
    memset(u, 0, sizeof *u);
}

void pag_broker_rights_free(struct pag_broker_topic *right, size_t n)
{
    for (size_t i = 0; right != NULL && i < n; i++) {
        free(pag_unconst(right[i].pattern));
    }
    free(right);
}

/* It becomes a line of two files and the name of one; a '.' is in no certificate's name. */
bool pag_broker_user_ok(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 64 && strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz-.") == n &&
           name[0] != '.' && name[0] != '-' && strchr(name, '.') != NULL;
}

static bool hash_ok(const char *hash)
{
    static const char letters[] = "$+/=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t n = strlen(hash);
    return n > 8 && n < 200 && strspn(hash, letters) == n && strncmp(hash, "$7$", 3) == 0;
}

bool pag_broker_right_ok(const struct pag_broker_topic *r, bool own)
{
    size_t n = strlen(r->pattern);
    if (n == 0 || n > 300 || r->pattern[0] == '$' || r->pattern[0] == '#' ||
        strncmp(r->pattern, "pg/", 3) == 0 || (!own && r->pattern[0] == '+')) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char c = r->pattern[i];
        bool ends_level = r->pattern[i + 1] == '/' || r->pattern[i + 1] == '\0';
        bool whole = i > 0 && r->pattern[i - 1] == '/' && ends_level;
        if (c <= 0x20 || c > 0x7e || c == '%' || c == '{' || c == '}' ||
            ((c == '+' || c == '#') && !(whole || (own && i == 0 && ends_level))) ||
            (c == '#' && r->pattern[i + 1] != '\0')) {
            return false;
        }
    }
    return true;
}

static enum pag_err copy_rights(const struct pag_broker_topic *right, size_t n, bool own,
                                struct pag_broker_topic **out)
{
    struct pag_broker_topic *copy = calloc(n == 0 ? 1 : n, sizeof *copy);
    enum pag_err err = copy != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    for (size_t i = 0; i < n && err == PAG_OK; i++) {
        copy[i].access = right[i].access;
        copy[i].pattern = pag_broker_right_ok(&right[i], own) ? strdup(right[i].pattern) : NULL;
        err = copy[i].pattern != NULL ? PAG_OK : PAG_E_CONFIG;
    }
    if (err != PAG_OK) {
        pag_broker_rights_free(copy, n);
        return err;
    }
    *out = copy;
    return PAG_OK;
}

static enum pag_err copy_user(const struct pag_broker_user *from, struct pag_broker_user *to)
{
    struct pag_broker_topic *right = NULL;
    if (!pag_broker_user_ok(from->name) || !hash_ok(from->hash)) {
        return PAG_E_CONFIG;
    }
    enum pag_err err = copy_rights(from->right, from->right_n, false, &right);
    if (err != PAG_OK) {
        return err;
    }
    to->name = strdup(from->name);
    to->hash = strdup(from->hash);
    to->right = right;
    to->right_n = from->right_n;
    return to->name != NULL && to->hash != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

enum pag_err pag_broker_users_copy(const struct pag_broker_users *from, struct pag_broker_users *to)
{
    struct pag_broker_users u = { .user = calloc(from->n + 1, sizeof *u.user) };
    enum pag_err err = u.user != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    if (err == PAG_OK) {
        err = copy_rights(from->own, from->own_n, true, &u.own);
        u.own_n = err == PAG_OK ? from->own_n : 0;
    }
    for (size_t i = 0; i < from->n && err == PAG_OK; i++) {
        u.n = i + 1;
        err = copy_user(&from->user[i], &u.user[i]);
    }
    if (err != PAG_OK) {
        pag_broker_users_free(&u);
        return err;
    }
    *to = u;
    return PAG_OK;
}

/* False: not there, or another password. */
bool pag_broker_users_has(const struct pag_broker_users *u, const char *name, const char *hash)
{
    for (size_t i = 0; i < u->n; i++) {
        if (strcmp(u->user[i].name, name) == 0) {
            return strcmp(u->user[i].hash, hash) == 0;
        }
    }
    return false;
}

/* ---- the files ---- */

static const char *access_word(enum pag_broker_access access)
{
    return access == PAG_BROKER_WRITE ? "topic write " : "topic read ";
}

static void put_users(FILE *out, const struct pag_broker_users *u)
{
    (void)fputs("# Written by pagurusd; changes are lost. Of the listeners with passwords.\n", out);
    for (size_t i = 0; i < u->n; i++) {
        (void)fprintf(out, "\nuser %s\n", u->user[i].name);
        for (size_t k = 0; k < u->user[i].right_n; k++) {
            (void)fprintf(out, "%s%s\n", access_word(u->user[i].right[k].access),
                          u->user[i].right[k].pattern);
        }
    }
}

static void put_passwords(FILE *out, const struct pag_broker_users *u)
{
    for (size_t i = 0; i < u->n; i++) {
        (void)fprintf(out, "%s:%s\n", u->user[i].name, u->user[i].hash);
    }
}

enum pag_err pag_broker_users_text(const struct pag_broker_users *u, enum pag_broker_file which,
                                   struct pag_buf *out)
{
    char *text = NULL;
    size_t n = 0;
    FILE *stream = open_memstream(&text, &n);
    if (stream == NULL) {
        return PAG_E_NO_MEMORY;
    }
    if (which == PAG_BROKER_FILE_PASSWORDS) {
        put_passwords(stream, u);
    } else {
        put_users(stream, u);
    }
    bool bad = ferror(stream) != 0;
    bad = fclose(stream) != 0 || bad;
    if (bad) {
        free(text);
        return PAG_E_NO_MEMORY;
    }
    *out = (struct pag_buf){ (uint8_t *)text, n, n + 1 };
    return PAG_OK;
}

/* What such a client reads the server writes; what it writes the server reads. */
void pag_broker_users_put_own(FILE *out, const struct pag_broker_users *u)
{
    for (size_t i = 0; i < u->own_n; i++) {
        (void)fprintf(out, "%s%s\n",
                      u->own[i].access == PAG_BROKER_READ    ? "topic write "
                      : u->own[i].access == PAG_BROKER_WRITE ? "topic read "
                                                             : "topic readwrite ",
                      u->own[i].pattern);
    }
}
