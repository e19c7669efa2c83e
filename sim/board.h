#ifndef PAG_SIM_BOARD_H
#define PAG_SIM_BOARD_H

#include "agent/port.h"
#include "sim/fleet.h"

/*
 * The virtual board under a device: agent/port.h on the device's flash, its connections and the loop's time.
 * reboot and running_slot are the caller's to fill in.
 */
void pag_sim_board_init(struct pag_port *port, struct pag_sim_device *d);

/* Ends all connections as a power failure does, and forgets what was in RAM. */
void pag_sim_board_cut(struct pag_sim_device *d);

/* Calls the device's timer as soon as the loop comes round. */
void pag_sim_board_wake(void *device);

/* The device's own key and certificate, made by an authority that nobody knows: DER, appended.
 * PAG_E_NO_MEMORY. */
enum pag_err pag_sim_board_foreign(const char *id, struct pag_buf *certificate, struct pag_buf *key);

#endif
