#include "cli/relay_job.h"

#include <stdio.h>
#include <string.h>

#include "host/fs.h"

const char *pag_job_end_word(enum pag_job_end e)
{
    switch (e) {
    case PAG_JOB_CONFIRMED:
        return "confirmed";
    case PAG_JOB_REVERTED:
        return "reverted";
    case PAG_JOB_FAILED:
        return "failed";
    case PAG_JOB_AWAY:
    case PAG_JOB_STOPPED:
        break;
    }
    return "deferred";
}

enum pag_job_end pag_job_judge(const char *wanted, const char *running, const char *says, char *text,
                               size_t cap)
{
    if (strcmp(says, wanted) == 0) {
        (void)snprintf(text, cap, "is back and says that it runs %s", wanted);
        return PAG_JOB_CONFIRMED;
    }
    if (says[0] != '\0' && strcmp(says, running) == 0) {
        (void)snprintf(text, cap, "took %s and is back on %s", wanted, running);
        return PAG_JOB_REVERTED;
    }
    if (says[0] == '\0') {
        (void)snprintf(text, cap, "took it whole; it says no version");
    } else {
        (void)snprintf(text, cap, "took it whole and is back; what it says (%s) is the name of no release",
                       says);
    }
    return PAG_JOB_CONFIRMED;
}

static void on_progress(void *ctx, enum pag_push_phase phase, uint64_t done, uint64_t all)
{
    struct pag_job *job = ctx;
    atomic_store(&job->percent, all == 0 ? 0U : (unsigned)(done * 100 / all));
    atomic_store(&job->phase, (int)phase);
}

static enum pag_job_end failed_end(const struct pag_push_result *r)
{
    bool gone = r->err == PAG_E_TIMEOUT || r->err == PAG_E_CLOSED;
    bool away = r->err == PAG_E_NOT_FOUND || r->err == PAG_E_UNAUTHENTICATED || r->err == PAG_E_DENIED;
    if (r->err == PAG_E_CONDITION) {
        return PAG_JOB_STOPPED;
    }
    return away || (gone && r->phase == PAG_PUSH_KNOCKING) ? PAG_JOB_AWAY : PAG_JOB_FAILED;
}

static void come_back(struct pag_job *job)
{
    enum pag_err err = pag_push_back(&job->order, &job->before, job->wait_ms, &job->after);
    if (err == PAG_E_CONDITION) {
        job->end = PAG_JOB_STOPPED;
        (void)snprintf(job->text, sizeof job->text, "stopped while it restarted");
    } else if (err == PAG_E_TIMEOUT) {
        job->end = PAG_JOB_FAILED;
        job->result.err = PAG_E_TIMEOUT;
        (void)snprintf(job->text, sizeof job->text, "took it whole and has not come back in %u s",
                       (unsigned)(job->wait_ms / 1000));
    } else {
        job->end = pag_job_judge(job->wanted, job->running, job->after.version, job->text, sizeof job->text);
    }
}

static void *work(void *ctx)
{
    struct pag_job *job = ctx;
    (void)pag_push_look(&job->order, &job->before);
    if (pag_push_run(&job->order, &job->result) == PAG_OK) {
        come_back(job);
    } else {
        job->end = failed_end(&job->result);
        if (job->result.code >= 0) {
            (void)snprintf(job->text, sizeof job->text, "%s %d: %.160s", pag_push_word(job->order.protocol),
                           job->result.code, job->result.text);
        } else {
            (void)snprintf(job->text, sizeof job->text, "%s", job->result.text);
        }
    }
    atomic_store(&job->over, true);
    return NULL;
}

enum pag_err pag_job_start(struct pag_job *job)
{
    job->order.progress = on_progress;
    job->order.ctx = job;
    atomic_store(&job->phase, PAG_PUSH_KNOCKING);
    atomic_store(&job->percent, 0U);
    atomic_store(&job->over, false);
    job->told_phase = -1;
    job->used = true;
    if (pthread_create(&job->thread, NULL, work, job) != 0) {
        job->used = false;
        return PAG_E_NO_MEMORY;
    }
    return PAG_OK;
}

void pag_job_finish(struct pag_job *job)
{
    (void)pthread_join(job->thread, NULL);
    pag_fs_buf_free(&job->image);
    memset(job->password, 0, sizeof job->password);
}
