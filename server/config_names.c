/* Names of this server: what is given, and what this machine is called by itself. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): getifaddrs flags */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "server/config.h"

/* A host name of letters, digits, '-' and '.', possibly "*." in front, or an address. */
static bool name_ok(const char *name)
{
    struct in6_addr a;
    if (inet_pton(AF_INET, name, &a) == 1 || inet_pton(AF_INET6, name, &a) == 1) {
        return true;
    }
    const char *at = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
    return at[0] != '\0' && at[0] != '.' && at[0] != '-' &&
           strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == strlen(at);
}

enum pag_err pag_config_names_add(struct pag_config_names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcasecmp(names->name[i], name) == 0) {
            return PAG_OK;
        }
    }
    size_t n = strlen(name);
    if (names->n == PAG_CONFIG_NAMES_MAX || n >= PAG_CONFIG_NAME_CHARS || !name_ok(name)) {
        return PAG_E_CONFIG;
    }
    memcpy(names->name[names->n++], name, n + 1);
    return PAG_OK;
}

static enum pag_err add_list(struct pag_config_names *names, const char *list)
{
    while (*list != '\0') {
        char one[PAG_CONFIG_NAME_CHARS];
        list += strspn(list, " \t,");
        size_t n = strcspn(list, ",");
        size_t kept = n;
        while (kept > 0 && (list[kept - 1] == ' ' || list[kept - 1] == '\t')) {
            kept--;
        }
        if (kept >= sizeof one) {
            return PAG_E_CONFIG;
        }
        memcpy(one, list, kept);
        one[kept] = '\0';
        if (kept > 0 && pag_config_names_add(names, one) != PAG_OK) {
            return PAG_E_CONFIG;
        }
        list += n;
    }
    return PAG_OK;
}

/* Link-local addresses are of no use in a certificate: devices would need a zone. */
static bool address_text(const struct sockaddr *sa, char *out, socklen_t cap)
{
    if (sa == NULL) {
        return false;
    }
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;
        return inet_ntop(AF_INET, &v4->sin_addr, out, cap) != NULL;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sa;
        return !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) &&
               inet_ntop(AF_INET6, &v6->sin6_addr, out, cap) != NULL;
    }
    return false;
}

/* What does not fit any more is left out: these are a convenience, the configured ones are kept. */
void pag_config_names_detect(struct pag_config_names *names)
{
    char text[256] = "";
    struct ifaddrs *list = NULL;
    if (gethostname(text, sizeof text - 1) == 0) {
        (void)pag_config_names_add(names, text);
    }
    (void)pag_config_names_add(names, "localhost");
    (void)pag_config_names_add(names, "127.0.0.1");
    (void)pag_config_names_add(names, "::1");
    if (getifaddrs(&list) != 0) {
        return;
    }
    for (const struct ifaddrs *at = list; at != NULL; at = at->ifa_next) {
        if ((at->ifa_flags & IFF_UP) != 0 && address_text(at->ifa_addr, text, sizeof text)) {
            (void)pag_config_names_add(names, text);
        }
    }
    freeifaddrs(list);
}

enum pag_err pag_config_names_of(const char *list, bool detect, struct pag_config_names *out)
{
    memset(out, 0, sizeof *out);
    enum pag_err err = add_list(out, list);
    if (err == PAG_OK && detect) {
        pag_config_names_detect(out);
    }
    return err;
}
