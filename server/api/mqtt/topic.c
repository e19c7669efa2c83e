#include "server/api/mqtt/topic.h"

#include "core/bytes.h"

static const char prefix[] = "pg/v1/d/";

static struct pag_span from(struct pag_span s, size_t at)
{
    return (struct pag_span){ s.p + at, s.n - at };
}

static bool data_ok(struct pag_span rest)
{
    if (rest.n > PAG_TOPIC_DATA_MAX) {
        return false;
    }
    for (size_t i = 0; i < rest.n; i++) {
        if (rest.p[i] < 0x21 || rest.p[i] > 0x7E || rest.p[i] == '+' || rest.p[i] == '#') {
            return false;
        }
    }
    return true;
}

static enum pag_err read_up(struct pag_span up, struct pag_topic *t)
{
    if (pag_span_eq_str(up, "status")) {
        t->kind = PAG_TOPIC_STATUS;
    } else if (pag_span_eq_str(up, "report")) {
        t->kind = PAG_TOPIC_REPORT;
    } else if (pag_span_eq_str(up, "result")) {
        t->kind = PAG_TOPIC_RESULT;
    } else if (pag_span_eq_str(up, "data") || pag_span_starts(up, "data/")) {
        t->kind = PAG_TOPIC_DATA;
        t->rest = up;
        return data_ok(up) ? PAG_OK : PAG_E_SYNTAX;
    } else {
        return PAG_E_NOT_FOUND;
    }
    return PAG_OK;
}

enum pag_err pag_topic_read(struct pag_span topic, struct pag_topic *out)
{
    struct pag_topic t = { .kind = PAG_TOPIC_WILL };
    enum pag_err err = PAG_OK;
    if (!pag_span_starts(topic, prefix)) {
        return PAG_E_NOT_FOUND;
    }
    struct pag_span tail = from(topic, sizeof prefix - 1);
    size_t slash = pag_span_find(tail, 0, '/');
    if (slash == tail.n) {
        return PAG_E_NOT_FOUND;
    }
    t.device = (struct pag_span){ tail.p, slash };
    if (!pag_device_id_ok(t.device)) {
        return PAG_E_SYNTAX;
    }
    struct pag_span leaf = from(tail, slash + 1);
    if (pag_span_starts(leaf, "up/")) {
        err = read_up(from(leaf, 3), &t);
    } else if (!pag_span_eq_str(leaf, "will")) {
        err = PAG_E_NOT_FOUND;
    }
    if (err == PAG_OK) {
        *out = t;
    }
    return err;
}

/* Next level of a topic from *at on; false when there is none left. An empty level is a level. */
static bool level_next(struct pag_span s, size_t *at, struct pag_span *level)
{
    if (*at > s.n) {
        return false;
    }
    size_t end = pag_span_find(s, *at, '/');
    *level = (struct pag_span){ s.p + *at, end - *at };
    *at = end + 1;
    return true;
}

bool pag_topic_template_match(struct pag_span tmpl, struct pag_span topic, struct pag_span *device)
{
    struct pag_span want;
    struct pag_span have;
    struct pag_span id = { NULL, 0 };
    size_t at_tmpl = 0;
    size_t at_topic = 0;
    while (level_next(tmpl, &at_tmpl, &want)) {
        if (!level_next(topic, &at_topic, &have)) {
            return false;
        }
        if (pag_span_eq_str(want, "{id}")) {
            id = have;
        } else if (!pag_span_eq(want, have)) {
            return false;
        }
    }
    if (at_topic <= topic.n || !pag_device_id_ok(id)) {
        return false;
    }
    *device = id;
    return true;
}

enum pag_err pag_topic_template_put(struct pag_span tmpl, struct pag_span id, char out[PAG_TOPIC_MAX])
{
    struct pag_buf buf = { (uint8_t *)out, 0, PAG_TOPIC_MAX - 1 };
    struct pag_span level;
    size_t at = 0;
    while (level_next(tmpl, &at, &level)) {
        bool first = buf.n == 0 && level.p == tmpl.p;
        enum pag_err err = first ? PAG_OK : pag_buf_put_str(&buf, "/");
        if (err == PAG_OK) {
            err = pag_buf_put(&buf, pag_span_eq_str(level, "{id}") ? id : level);
        }
        if (err != PAG_OK) {
            return err;
        }
    }
    out[buf.n] = '\0';
    return PAG_OK;
}
