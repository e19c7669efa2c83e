#include "server/api/limits.h"

#include "core/bytes.h"
#include "host/bucket.h"
#include "server/app/sweep.h"

static struct pag_bucket_verdict take(struct pag_api *api, const char *kind, const char *key,
                                      struct pag_bucket_rate rate, uint64_t cost)
{
    char text[160];
    struct pag_buf buf = { (uint8_t *)text, 0, sizeof text };
    (void)pag_buf_put_str(&buf, kind);
    (void)pag_buf_put_str(&buf, key);
    if (api->buckets == NULL) {
        return (struct pag_bucket_verdict){ .ok = true };
    }
    return pag_bucket_take(api->buckets, pag_buf_span(&buf), rate, cost, api->clock.now_ms(api->clock.ctx));
}

static void tell(struct pag_api *api, struct pag_app_thread *thread, const struct pag_limited *what,
                 const struct pag_bucket_verdict *v)
{
    atomic_fetch_add_explicit(&api->limited, 1, memory_order_relaxed);
    if (!v->tell) {
        return;
    }
    pag_log_warn(api->log, "device.limited", PAG_F_STR("device", what->device), PAG_F_STR("what", what->what),
                 PAG_F_U64("refused", v->refused));
    pag_app_limited(thread, what);
}

uint32_t pag_limits_request(struct pag_api *api, struct pag_app_thread *thread, const char *key,
                            const char *device)
{
    const struct pag_bucket_rate rate = { (uint64_t)atomic_load(&api->limits.requests) * 3600,
                                          atomic_load(&api->limits.requests_burst) };
    struct pag_bucket_verdict v = take(api, "r", key, rate, 1);
    if (!v.ok) {
        const struct pag_limited what = { device != NULL ? device : key, "requests", v.refused };
        tell(api, thread, &what, &v);
    }
    return v.ok ? 0 : v.wait_s;
}

bool pag_limits_message(struct pag_api *api, struct pag_app_thread *thread, const char *device)
{
    const struct pag_bucket_rate rate = { (uint64_t)atomic_load(&api->limits.messages) * 3600,
                                          atomic_load(&api->limits.messages_burst) };
    struct pag_bucket_verdict v = take(api, "m", device, rate, 1);
    if (!v.ok) {
        const struct pag_limited what = { device, "messages", v.refused };
        tell(api, thread, &what, &v);
    }
    return v.ok;
}

bool pag_limits_text(struct pag_api *api, struct pag_app_thread *thread, const char *device, size_t bytes)
{
    uint64_t most = atomic_load(&api->limits.text);
    const struct pag_bucket_rate rate = { most, most };
    struct pag_bucket_verdict v =
        bytes > 0 ? take(api, "t", device, rate, bytes) : (struct pag_bucket_verdict){ .ok = true };
    if (!v.ok) {
        const struct pag_limited what = { device, "text", v.refused };
        tell(api, thread, &what, &v);
    }
    return v.ok;
}
