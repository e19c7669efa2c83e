#include <string.h>

#include "core/bytes.h"
#include "server/app/visit.h"

/* 0: the open action wants something else, which these bytes are no step of. */
static uint32_t action_for(const struct pag_visit *v, const struct pag_release_image *image)
{
    const struct pag_action *a = v->has_fresh ? &v->fresh : &v->action;
    bool wanted = v->device.open_action != 0 && a->id == v->device.open_action &&
                  memcmp(a->target, image->sha256, sizeof a->target) == 0;
    return wanted ? a->id : 0;
}

static enum pag_err fill_offer(struct pag_visit *v)
{
    struct pag_check_reply *out = v->out;
    struct pag_arena *arena = v->call->arena;
    const struct pag_release *r = v->plan.release->release;
    const struct pag_release_image *image = pag_visit_image(v);
    out->verdict = PAG_CHECK_OFFER;
    out->action_id = action_for(v, image);
    out->version = pag_arena_text(arena, pag_span_str(r->version));
    out->image_name = pag_arena_text(arena, pag_span_str(image->name));
    memcpy(out->sha256, image->sha256, sizeof out->sha256);
    memcpy(out->md5, image->md5, sizeof out->md5);
    out->bytes = image->bytes;
    out->serves = v->serves;
    out->confirm = true;
    if (v->in->protocol == PAG_PROTOCOL_NATIVE) {
        out->manifest = pag_arena_copy(arena, r->manifest[v->plan.image]);
        if (v->plan.permit != NULL) {
            out->permit = pag_arena_copy(arena, v->plan.permit->cose);
        }
        if (out->manifest.p == NULL) {
            return PAG_E_NO_MEMORY;
        }
    }
    return out->version != NULL && out->image_name != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

static enum pag_err fill_version(struct pag_visit *v)
{
    const struct pag_release *r = v->plan.release != NULL ? v->plan.release->release : NULL;
    if (r == NULL || (v->plan.reason != PAG_PLAN_OFFER && v->plan.reason != PAG_PLAN_UP_TO_DATE)) {
        return PAG_OK;
    }
    v->out->verdict = PAG_CHECK_TEXT;
    v->out->version = pag_arena_text(v->call->arena, pag_span_str(r->version));
    return v->out->version != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

static enum pag_err fill_token(struct pag_visit *v)
{
    const struct pag_app_config *config = &v->call->thread->app->config;
    if (!v->in->has_nonce || config->freshness_sign == NULL) {
        return PAG_OK;
    }
    uint8_t *room = pag_arena_alloc(v->call->arena, PAG_TOKEN_MAX);
    struct pag_token t = { .server_time = (uint64_t)v->now_ms / 1000,
                           .trust_version = v->catalog->product.trust_version,
                           .valid_s = 86400 };
    if (room == NULL) {
        return PAG_E_NO_MEMORY;
    }
    memcpy(t.product, v->catalog->product.id_bytes, sizeof t.product);
    memcpy(t.nonce, v->in->nonce, sizeof t.nonce);
    memcpy(t.key_id, config->freshness_key, sizeof t.key_id);
    for (size_t i = 0; i < v->catalog->release_n; i++) {
        const struct pag_release *r = v->catalog->release[i].release;
        t.highest_sequence = r->state == PAG_RELEASE_PUBLISHED ? r->sequence : t.highest_sequence;
    }
    struct pag_buf b = { room, 0, PAG_TOKEN_MAX };
    enum pag_err err = pag_token_sign(config->crypto, &t, config->freshness_sign, config->freshness_ctx, &b);
    v->out->token = pag_buf_span(&b);
    return err;
}

/* An agent that does not know signed commands would refuse the whole offer: they are left out. */
static uint8_t understood(const struct pag_device *d, struct pag_command *list, size_t n)
{
    const struct pag_fact_u32 *can = &d->facts.capabilities;
    bool knows = can->source != PAG_ABSENT && (can->value & PAG_CAP_SIGNED_COMMANDS) != 0;
    uint8_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (knows || list[i].order.n == 0) {
            list[kept++] = list[i];
        }
    }
    return kept;
}

enum pag_err pag_visit_answer(struct pag_visit *v, const char *why)
{
    struct pag_check_reply *out = v->out;
    const struct pag_product *p = &v->catalog->product;
    memset(out, 0, sizeof *out);
    out->poll_s = p->settings.poll_s != 0
                      ? p->settings.poll_s
                      : __atomic_load_n(&v->call->thread->app->config.poll_s, __ATOMIC_RELAXED);
    out->trust_version = p->trust_version;
    out->reason = v->plan.reason;
    out->why = pag_arena_text(v->call->arena, pag_span_str(why));
    enum pag_err err = PAG_OK;
    if (v->in->mode == PAG_CHECK_VERSION) {
        err = fill_version(v);
    } else if (v->plan.reason == PAG_PLAN_OFFER ||
               (v->in->always && v->plan.reason == PAG_PLAN_UP_TO_DATE && v->plan.release != NULL)) {
        err = fill_offer(v);
    } else if (v->plan.reason == PAG_PLAN_NO_IMAGE ||
               (v->in->mode == PAG_CHECK_FILESYSTEM && v->plan.reason == PAG_PLAN_NOTHING_PUBLISHED)) {
        out->verdict = PAG_CHECK_NO_IMAGE;
    }
    if (err == PAG_OK) {
        err = fill_token(v);
    }
    if (err == PAG_OK && v->in->protocol == PAG_PROTOCOL_NATIVE && v->device.commands_queued > 0) {
        size_t n = PAG_NATIVE_COMMANDS_MAX;
        err = pag_command_waiting(v->call->thread->db, v->call->arena, v->device.id, v->now_ms, out->command,
                                  &n);
        out->command_n = understood(&v->device, out->command, n);
    }
    return err;
}
