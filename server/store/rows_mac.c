#include "server/store/db.h"
#include "server/store/rows.h"

enum pag_err pag_device_mac_owner(struct pag_db *db, const char *mac, const char *device,
                                  char owner[PAG_DEVICE_ID_MAX + 1])
{
    struct pag_q q = pag_q_of(
        db, "SELECT id FROM device WHERE (mac = ? OR id = ?) AND id <> ? AND revoked_ms = 0 LIMIT 1");
    pag_q_text(&q, mac);
    pag_q_text(&q, mac);
    pag_q_text(&q, device);
    bool found = pag_q_row(&q);
    if (found) {
        pag_q_get_text(&q, owner, PAG_DEVICE_ID_MAX + 1);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !found ? PAG_E_NOT_FOUND : err;
}
