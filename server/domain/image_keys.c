#include "server/domain/image_keys.h"

#include <string.h>

void pag_image_keys_find(const struct pag_crypto *crypto, struct pag_span payload,
                         struct pag_found_keys *found)
{
    size_t from = 0;
    struct pag_image_key key;
    found->n = 0;
    while (pag_image_key_next(crypto, payload, &from, &key)) {
        bool twice = false;
        for (size_t i = 0; i < found->n && i < PAG_FOUND_KEYS_MAX; i++) {
            twice = twice || memcmp(found->key[i].id, key.id, sizeof key.id) == 0;
        }
        if (!twice && found->n < PAG_FOUND_KEYS_MAX) {
            found->key[found->n] = key;
        }
        found->n += twice ? 0 : 1;
    }
}

static bool is_found(const struct pag_found_keys *found, const uint8_t id[PAG_KEY_ID_BYTES])
{
    for (size_t i = 0; i < found->n && i < PAG_FOUND_KEYS_MAX; i++) {
        if (memcmp(found->key[i].id, id, PAG_KEY_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_inside(const struct pag_key_search *s, const struct pag_verify_key *k)
{
    struct pag_span number;
    return is_found(s->found, k->id) ||
           (pag_spki_number(k->spki, &number) == PAG_OK && pag_image_holds_number(s->payload, number, NULL));
}

static void take(struct pag_release_image *image, const uint8_t id[PAG_KEY_ID_BYTES])
{
    image->has_embedded_key = true;
    memcpy(image->embedded_key, id, PAG_KEY_ID_BYTES);
}

struct inside {
    size_t n;
    const uint8_t *last;
};

static struct inside known_inside(const struct pag_key_search *s, bool registered)
{
    struct inside in = { 0, NULL };
    for (size_t i = 0; i < s->known_n; i++) {
        if (s->known[i].registered == registered && is_inside(s, &s->known[i])) {
            in.n++;
            in.last = s->known[i].id;
        }
    }
    return in;
}

static struct inside unknown_inside(const struct pag_found_keys *found)
{
    struct inside in = { 0, NULL };
    for (size_t i = 0; i < found->n && i < PAG_FOUND_KEYS_MAX; i++) {
        if (found->key[i].rsa && found->key[i].form == PAG_IMAGE_KEY_PEM) {
            in.n++;
            in.last = found->key[i].id;
        }
    }
    in.n += found->n > PAG_FOUND_KEYS_MAX ? 2 : 0;
    return in;
}

static enum pag_err take_said(const struct pag_key_search *s, struct pag_release_image *image,
                              struct pag_fail *why)
{
    bool inside = is_found(s->found, s->said.id);
    for (size_t i = 0; i < s->known_n && !inside; i++) {
        inside = memcmp(s->known[i].id, s->said.id, sizeof s->said.id) == 0 && is_inside(s, &s->known[i]);
    }
    if (!inside) {
        return pag_fail_set(why, PAG_E_NOT_FOUND, "The image does not hold the key that verify_key names.",
                            0);
    }
    take(image, s->said.id);
    return PAG_OK;
}

enum pag_err pag_image_keys_choose(const struct pag_key_search *s, struct pag_release_image *image,
                                   struct pag_fail *why)
{
    image->has_embedded_key = false;
    if (s->said.known) {
        return s->said.none ? PAG_OK : take_said(s, image, why);
    }
    struct inside in = known_inside(s, true);
    if (in.n > 1) {
        return pag_fail_set(why, PAG_E_CONFLICT,
                            "The image holds several signing keys of the product; say with verify_key which "
                            "one checks the next image.",
                            in.n);
    }
    if (in.n == 0) {
        in = known_inside(s, false);
    }
    if (in.n == 0) {
        in = unknown_inside(s->found);
    }
    if (in.n == 1) {
        take(image, in.last);
    }
    return PAG_OK;
}
