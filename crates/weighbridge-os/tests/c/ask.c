/* Asks the library as a mail server would: ask FILE ADDRESS [PORT [SERVER SERVER-PORT]]. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weighbridge_os.h"

static uint16_t port(int argc, char **argv, int at) {
    return argc > at ? (uint16_t)strtoul(argv[at], NULL, 10) : 0;
}

/* The same by the function for Exim. */
static void exim(int argc, char **argv) {
    char form[] = "header", empty[] = "";
    unsigned char *arguments[6] = {(unsigned char *)form};
    for (int at = 1; at < 5; at++)
        arguments[at] = (unsigned char *)(argc > at + 1 ? argv[at + 1] : empty);
    arguments[5] = (unsigned char *)argv[1];
    unsigned char *yield = NULL;
    int status = weighbridge_os_exim(&yield, 6, arguments);
    printf("exim %d %s\n", status, yield ? (char *)yield : "(null)");
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 9;
    weighbridge_os *handle = weighbridge_os_open(argv[1]);
    struct weighbridge_os_answer answer;
    memset(&answer, 0x55, sizeof answer);
    int status = weighbridge_os_lookup(handle, argv[2], port(argc, argv, 3),
                                       argc > 4 ? argv[4] : NULL, port(argc, argv, 5), &answer,
                                       sizeof answer);
    printf("%d %s|%s|%s|%s|%s|%s|%s\n", status, answer.os, answer.header, answer.os_class,
           answer.name, answer.flavor, answer.link, answer.confidence);
    printf("%llu %llu %lld %u %u %d %d\n", (unsigned long long)answer.first_seen,
           (unsigned long long)answer.last_seen, (long long)answer.uptime, answer.connections,
           answer.mtu, answer.distance, answer.of_connection);
    /* An older program knows fewer fields, and nothing behind them may be touched. */
    char small[8];
    memset(small, 0x55, sizeof small);
    weighbridge_os_lookup(handle, argv[2], 0, NULL, 0, (struct weighbridge_os_answer *)small, 4);
    printf("%d\n", small[3] != 0x55 && small[4] == 0x55);
    weighbridge_os_close(handle);
    weighbridge_os_close(NULL);
    if (weighbridge_os_lookup(NULL, argv[2], 0, NULL, 0, NULL, 0) != WEIGHBRIDGE_OS_INVALID)
        return 8;
    exim(argc, argv);
    return 0;
}
