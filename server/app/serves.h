#ifndef PAG_SERVER_APP_SERVES_H
#define PAG_SERVER_APP_SERVES_H

#include <stdbool.h>
#include <stdint.h>

#include <pagurus/types.h>

/*
 * Images on their way to devices that say nothing afterwards, between the offer and the row that counts it: a
 * client that asks faster than the writer writes must not get more than max_serves of one image. Any thread.
 * In memory only: after a start nothing is on its way.
 */

enum { PAG_SERVE_SLOTS = 1024, PAG_SERVE_LINGER_MS = 1000 };

struct pag_serve_slot {
    uint64_t key;    /* hash of device and image; 0: free */
    uint32_t total;  /* serves that count, those on their way too */
    uint32_t open;   /* of these: not written yet */
    int64_t last_ms; /* of the last change; a reader may have an older row in its hands for a moment */
};

struct pag_app;

/* One more is on its way; counted: serves on record. False: no slot is free, it is not followed. */
bool pag_serve_begins(struct pag_app *app, const char *device, const uint8_t sha256[PAG_SHA256_BYTES],
                      uint32_t counted);
/* It is written, or never will be. counts: the device has got all of it. */
void pag_serve_ended(struct pag_app *app, const char *device, const uint8_t sha256[PAG_SHA256_BYTES],
                     bool counts);
/* Nothing of it is on record any more: only what is on its way counts. */
void pag_serve_forget(struct pag_app *app, const char *device);
/* counted, or more when some are on their way. */
uint32_t pag_serve_total(struct pag_app *app, const char *device, const uint8_t sha256[PAG_SHA256_BYTES],
                         uint32_t counted);

#endif
