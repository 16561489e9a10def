/* Opens a macvtap's device as a hypervisor does and passes frames between it and its own streams.
 *
 * Each frame travels as two bytes of length, big-endian, and the frame. A length of 0 comes out first: the tap is open.
 * It asks for whole frames with their checksums filled in, as there is no device behind it that could make up for them.
 * Ends with its standard input. Exit status 1: it could not go on, and stderr says why.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { HEADER = 12 /* struct virtio_net_hdr_v1 */, FRAME = 65535 };

static uint8_t buffer[2 + HEADER + FRAME];

static void write_all(const uint8_t *data, size_t size) {
    while (size) {
        ssize_t done = write(STDOUT_FILENO, data, size);
        if (done < 0)
            err(1, "stdout");
        data += done;
        size -= (size_t)done;
    }
}

/* Whether `size` bytes could be read; the stream may end before the first one only. */
static int read_all(uint8_t *data, size_t size) {
    size_t have = 0;
    while (have < size) {
        ssize_t got = read(STDIN_FILENO, data + have, size - have);
        if (got < 0)
            err(1, "stdin");
        if (got == 0 && have)
            errx(1, "stdin ends within a frame");
        if (got == 0)
            return 0;
        have += (size_t)got;
    }
    return 1;
}

static void put_length(uint8_t *at, size_t length) {
    at[0] = (uint8_t)(length >> 8);
    at[1] = (uint8_t)length;
}

static int open_tap(const char *path) {
    int tap = open(path, O_RDWR | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int header = HEADER;
    if (tap < 0)
        err(1, "%s", path);
    if (ioctl(tap, TUNSETIFF, &request) || ioctl(tap, TUNSETVNETHDRSZ, &header) || ioctl(tap, TUNSETOFFLOAD, 0))
        err(1, "%s is no tap", path);
    return tap;
}

int main(int argc, char **argv) {
    if (argc != 2)
        errx(1, "usage: tap /dev/tapN");
    int tap = open_tap(argv[1]);
    struct pollfd ready[] = {{.fd = tap, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    put_length(buffer, 0);
    write_all(buffer, 2);
    for (;;) {
        if (poll(ready, 2, -1) < 0)
            err(1, "poll");
        if (ready[0].revents) {
            /* The length goes where the end of the header was. */
            ssize_t got = read(tap, buffer, HEADER + FRAME);
            if (got < HEADER)
                err(1, "%s", argv[1]);
            put_length(buffer + HEADER - 2, (size_t)got - HEADER);
            write_all(buffer + HEADER - 2, (size_t)got - HEADER + 2);
        }
        if (ready[1].revents) {
            uint8_t length[2];
            if (!read_all(length, 2))
                return 0;
            size_t size = (size_t)length[0] << 8 | length[1];
            memset(buffer, 0, HEADER);
            if (!read_all(buffer + HEADER, size))
                errx(1, "stdin ends within a frame");
            if (write(tap, buffer, HEADER + size) < 0)
                err(1, "%s", argv[1]);
        }
    }
}
