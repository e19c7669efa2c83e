#ifndef PAG_CLI_RELAY_JOB_H
#define PAG_CLI_RELAY_JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include "relay/push.h"
#include "relay/source.h"

/* One push of a relay in a thread of its own: the push, then waiting until the device is back. */

enum { PAG_JOB_SECRET = 256 };

enum pag_job_end {
    PAG_JOB_CONFIRMED, /* runs the version that was pushed, or took it and cannot say */
    PAG_JOB_REVERTED,  /* is back on the version from before */
    PAG_JOB_FAILED,
    PAG_JOB_AWAY,    /* could not be reached, or wants another password: no word on the image */
    PAG_JOB_STOPPED, /* by us */
};
const char *pag_job_end_word(enum pag_job_end e); /* state of a report: "confirmed", … "deferred" */

struct pag_job {
    bool used;
    char device[PAG_DEVICE_ID_MAX + 1];
    uint32_t action;
    char wanted[PAG_VERSION_MAX + 1];  /* version being pushed */
    char running[PAG_VERSION_MAX + 1]; /* release that it ran, "" : none of ours */
    struct pag_mdns_found where;
    char host[PAG_MDNS_ADDRESS];
    char user[PAG_JOB_SECRET], password[PAG_JOB_SECRET], path[PAG_JOB_SECRET];
    struct pag_push_order order; /* points into this struct */
    struct pag_buf image;
    uint32_t wait_ms;
    /* by the thread; read by the other while it runs */
    atomic_int phase; /* enum pag_push_phase */
    atomic_uint percent;
    atomic_bool over;
    /* by the thread; read after over */
    struct pag_push_result result;
    struct pag_push_info before, after;
    enum pag_job_end end;
    char text[PAG_PUSH_TEXT];
    /* of the main thread */
    pthread_t thread;
    int told_phase;
    unsigned told_percent;
    uint64_t told_ms;
};

/* order, image, wait_ms and the texts are filled. PAG_E_NO_MEMORY: no thread. */
enum pag_err pag_job_start(struct pag_job *job);
/* After over: joins and releases the image. The rest stays. */
void pag_job_finish(struct pag_job *job);
/* What a device that has taken an image and is back says of the outcome. running: see above. */
enum pag_job_end pag_job_judge(const char *wanted, const char *running, const char *says, char *text,
                               size_t cap);

#endif
