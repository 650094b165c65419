/* libweighbridge-os: what operating system a TCP client has, as `weighbridge watch` saw it, read out
 * of shared memory. See libweighbridge-os(3). */

#ifndef WEIGHBRIDGE_OS_H
#define WEIGHBRIDGE_OS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    WEIGHBRIDGE_OS_KNOWN = 0,       /* the system is known */
    WEIGHBRIDGE_OS_UNKNOWN = 1,     /* the client was seen, no signature fits */
    WEIGHBRIDGE_OS_NOT_SEEN = 2,    /* the client was not seen */
    WEIGHBRIDGE_OS_UNAVAILABLE = 3, /* no file, or its daemon is dead */
    WEIGHBRIDGE_OS_INVALID = 4      /* an argument is no address */
};

/* Texts are printable ASCII and end with NUL. A later version may have more fields at the end. */
struct weighbridge_os_answer {
    char os[160];         /* "Linux 3.11 and newer"; "Unknown" */
    char header[160];     /* "Linux 3.11 and newer (exact, distance 9, link: DSL)" */
    char os_class[80];    /* "unix", "win", "other"; "!": a scanner or such */
    char name[80];        /* "Linux" */
    char flavor[80];      /* "3.11 and newer" */
    char link[80];        /* "DSL" */
    char confidence[16];  /* "exact", "generic", "similar", "family" */
    uint64_t first_seen;  /* the address, in seconds since 1970 */
    uint64_t last_seen;
    int64_t uptime;       /* minutes; -1: not known */
    uint32_t connections; /* of the address, so far */
    uint32_t mtu;         /* bytes; 0: not known */
    int32_t distance;     /* routers between; -1: not known */
    int32_t of_connection; /* 1: it is of this very connection; 0: of the address' newest */
};

typedef struct weighbridge_os weighbridge_os;

/* `file`: NULL for /run/weighbridge/os.shm. It need not be there (yet). */
weighbridge_os *weighbridge_os_open(const char *file);

/* `address` and `server` are IPv4 or IPv6 addresses as text. `port` 0: by address alone; `server`
 * NULL: the newest connection from address and port. `size`: sizeof *answer. Never waits. */
int weighbridge_os_lookup(const weighbridge_os *handle, const char *address, uint16_t port,
                          const char *server, uint16_t server_port,
                          struct weighbridge_os_answer *answer, size_t size);

void weighbridge_os_close(weighbridge_os *handle);

/* Exim's ${dlfunc}: FORM ("os" or "header"), ADDRESS [PORT [SERVER SERVER-PORT [FILE]]]. */
int weighbridge_os_exim(unsigned char **yield, int argc, unsigned char *argv[]);

#ifdef __cplusplus
}
#endif

#endif
