#ifndef PAG_PORTS_POSIX_POSIX_PORT_H
#define PAG_PORTS_POSIX_POSIX_PORT_H

#include <openssl/types.h>

#include <pagurus/agent.h>
#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "agent/port.h"

/*
 * A device as a folder: the files journal, trust, config, slot_a and slot_b are its flash (NOR rules
 * enforced: a program that would set a bit fails), a reboot is an exec of pagurus-posix-loader, a hardware
 * watchdog is alarm(2). docs/porting/posix.md.
 */

enum {
    PAG_POSIX_SECTOR = 4096,
    PAG_POSIX_SLOT_BYTES = 4 << 20, /* of a folder that pag_posix_open makes */
    PAG_POSIX_WATCHDOG_S = 30,
    PAG_POSIX_CONNS = 4,
    PAG_POSIX_PATH = 512,
    /* Exit status of a firmware whose device.conf must be mended (EX_CONFIG of sysexits.h): the loader starts
       it again when the file changes, and otherwise later each time. */
    PAG_POSIX_EXIT_CONFIG = 78,
};

struct pag_posix_conn {
    int fd; /* -1: free */
    SSL *ssl;
    bool connected, secured;
};

struct pag_posix {
    struct pag_port port; /* port.ctx is this struct */
    char dir[PAG_POSIX_PATH];
    char loader[PAG_POSIX_PATH]; /* executed by reboot; "": reboot ends the process with status 75 */
    int area[PAG_AREA_COUNT];
    bool dirty[PAG_AREA_COUNT]; /* written and not yet synced */
    uint8_t slot;
    bool watchdog;
    uint32_t restarts;
    char reset_reason[16];
    struct pag_posix_conn conn[PAG_POSIX_CONNS];
};

/*
 * Opens the folder; makes missing files (erased, a slot of slot_bytes, 0 = PAG_POSIX_SLOT_BYTES). PAG_E_IO,
 * PAG_E_SPACE (path too long), PAG_E_CONFIG (a file's size is not a multiple of the sector).
 */
enum pag_err pag_posix_open(struct pag_posix *p, const char *dir, uint32_t slot_bytes);
void pag_posix_close(struct pag_posix *p);

/*
 * Reads DIR/device.conf into text, which s points into afterwards, and checks it. Not PAG_OK has been said on
 * standard error with file, line, key and remedy: exit with PAG_POSIX_EXIT_CONFIG.
 */
enum pag_err pag_posix_config(const char *dir, struct pag_buf *text, struct pag_settings *s);

/* What the loader has said: PAG_SLOT, PAG_LOADER, PAG_RESTARTS, PAG_RESET_REASON. */
void pag_posix_take_environment(struct pag_posix *p);

/* Sleeps up to ms, less when a connection has something to do. */
void pag_posix_wait(struct pag_posix *p, uint32_t ms);

/* core/crypto.h on OpenSSL, without host/. */
const struct pag_crypto *pag_posix_crypto(void);
/* pag_port.make_csr */
enum pag_err pag_posix_make_csr(void *ctx, const char *id, struct pag_buf *key_der, struct pag_buf *csr_der);

/* Puts pag_port.net into port; ctx is the struct pag_posix. */
void pag_posix_net(struct pag_port *port);
void pag_posix_net_close_all(struct pag_posix *p);

#endif
