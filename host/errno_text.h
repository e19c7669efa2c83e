#ifndef PAG_HOST_ERRNO_TEXT_H
#define PAG_HOST_ERRNO_TEXT_H

/* What an errno means, in English ("No space left on device"); for every thread, lives for ever. */
const char *pag_errno_text(int number);

#endif
