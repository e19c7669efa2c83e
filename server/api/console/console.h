#ifndef PAG_SERVER_API_CONSOLE_CONSOLE_H
#define PAG_SERVER_API_CONSOLE_CONSOLE_H

#include "host/http.h"

/* The status page: three files compiled into the program, no token needed to read them. */
void pag_console_page(struct pag_http_request *req);   /* GET / */
void pag_console_script(struct pag_http_request *req); /* GET /console.js */
void pag_console_style(struct pag_http_request *req);  /* GET /console.css */

#endif
