#ifndef PAG_SIM_INSTALL_H
#define PAG_SIM_INSTALL_H

#include "sim/fleet.h"
#include "sim/httpupdate.h"

/*
 * What the Update class, the boot copy of eboot and the OTA functions of ESP-IDF do to flash. Slot B is where
 * an image waits for the restart, slot A what runs.
 */

/*
 * body: as it arrived, packed or with a signature behind it. Checks it like the sketch that runs would: by
 * the public key that the running image holds, if it holds one. GO: it waits in slot B.
 */
enum pag_sim_update pag_sim_install(struct pag_sim_device *d, struct pag_span body,
                                    const struct pag_sim_update_head *announced,
                                    const struct pag_sim_update_ask *about);

/* After a restart: what waits is copied over what runs. False: what is there does not boot. */
bool pag_sim_install_boot(struct pag_sim_device *d);

/* The public key in an image, PEM or DER as found. PAG_E_NOT_FOUND. */
enum pag_err pag_sim_key_in(struct pag_span image, struct pag_span *spki, uint8_t *room, size_t cap);

#endif
