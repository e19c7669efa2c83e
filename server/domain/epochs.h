#ifndef PAG_SERVER_DOMAIN_EPOCHS_H
#define PAG_SERVER_DOMAIN_EPOCHS_H

#include "server/domain/planner.h"

/*
 * Signing-key epochs of devices without a trust set. Such a device checks the next image with the public key
 * inside the image that runs, so a release that brings another key is a step that may not be left out. Pure.
 * The rules in words: docs/spec/legacy-signatures.md 5.
 */

enum pag_key_known {
    PAG_KEY_NOT_KNOWN, /* which image runs is not known, nor what it was before */
    PAG_KEY_ANY,       /* it runs an image of ours without a key: it takes what it is given */
    PAG_KEY_HELD,
};

struct pag_key_state {
    enum pag_key_known known;
    uint8_t key[PAG_KEY_ID_BYTES]; /* HELD */
    uint32_t sequence;             /* of the release that runs, 0: not known */
};

/* What a device checks its next image with. */
void pag_epochs_state(const struct pag_plan_in *in, struct pag_key_state *out);

/* Takes the key of what runs into the device's record. True when that changed it. */
bool pag_epochs_learn(const struct pag_catalog *c, struct pag_device *d);

struct pag_epochs_in {
    const struct pag_catalog *catalog;
    const struct pag_facts *facts;        /* board and chip */
    const struct pag_plan_release *extra; /* counts as published beside the catalog; NULL: none */
    const char *without;                  /* id of a release that counts as withdrawn; NULL: none */
    bool withdrawn;                       /* withdrawn ones count as well */
    uint32_t upto;                        /* no release with a higher sequence; 0: all */
};

struct pag_epochs_way {
    const struct pag_plan_release *last; /* the newest release that can be reached; NULL: none */
    /* The first release on the way there with another key than the one held; NULL: none. */
    const struct pag_plan_release *next;
};

/*
 * The way onward from a state, by signatures and boards alone. Work: releases × keys, at most
 * PAG_EPOCHS_KEYS_MAX different keys; beyond that, those of older releases count as not reachable.
 */
enum { PAG_EPOCHS_KEYS_MAX = 64 };
void pag_epochs_walk(const struct pag_epochs_in *in, const struct pag_key_state *from,
                     struct pag_epochs_way *out);

/* A release next to the way: 0 fits, -1 leads to where no release leads on, 1 is behind a new key. */
int pag_epochs_place(const struct pag_epochs_way *way, const struct pag_key_state *from,
                     const struct pag_plan_release *candidate);

/* Whether the device comes to the newest release for its board, now or step by step. True for devices of
 * which it cannot be told (PAG_KEY_NOT_KNOWN), and when nothing is published for it. */
bool pag_epochs_open(const struct pag_plan_in *in, const struct pag_epochs_in *change);

/* For KEY and KEY_STEP: finds what would have to come first (out->bridge) and the numbers of the keys. */
void pag_epochs_explain(const struct pag_plan_in *in, struct pag_plan *out);

/* 1, 2, … in the order in which the product's releases brought them; 0: no release has it. */
uint32_t pag_epochs_number(const struct pag_catalog *c, const uint8_t key[PAG_KEY_ID_BYTES]);

#endif
