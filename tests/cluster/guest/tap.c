/* Opens a macvtap's device as a hypervisor does, or in a guest an interface, and passes frames between it and its own
 * streams.
 *
 * Each frame travels as two bytes of length, big-endian, and the frame. A length of 0 comes out first: it is open.
 * At a tap it asks for whole frames with their checksums filled in, as there is no device behind it that could make up
 * for them. Ends with its standard input. Exit status 1: it could not go on, and stderr says why.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 12 /* struct virtio_net_hdr_v1 */, FRAME = 65535, MACS = 12, TAG = 4 };

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

static int open_interface(const char *name) {
    int end = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), yes = 1;
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (end < 0 || ioctl(end, SIOCGIFINDEX, &request))
        err(1, "%s", name);
    struct packet_mreq all = {.mr_ifindex = request.ifr_ifindex, .mr_type = PACKET_MR_PROMISC};
    struct sockaddr_ll place = {AF_PACKET, htons(ETH_P_ALL), request.ifr_ifindex, 0, 0, 0, {0}};
    if (setsockopt(end, SOL_PACKET, PACKET_AUXDATA, &yes, sizeof yes) ||
        setsockopt(end, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) ||
        setsockopt(end, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) ||
        bind(end, (struct sockaddr *)&place, sizeof place))
        err(1, "%s", name);
    return end;
}

/* Receives a frame behind room for a header, with the VLAN tag that the kernel hands over beside it. */
static ssize_t receive(int end, uint8_t *data) {
    union {
        struct cmsghdr first;
        uint8_t room[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    } beside;
    struct iovec parts[] = {{data + HEADER, MACS}, {data + HEADER + MACS + TAG, FRAME - MACS - TAG}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = &beside, .msg_controllen = sizeof beside};
    ssize_t got = recvmsg(end, &message, 0);
    if (got < MACS)
        return -1;
    uint8_t *tag = data + HEADER + MACS;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each; each = CMSG_NXTHDR(&message, each)) {
        struct tpacket_auxdata found;
        memcpy(&found, CMSG_DATA(each), sizeof found);
        if (each->cmsg_type == PACKET_AUXDATA && found.tp_status & TP_STATUS_VLAN_VALID) {
            put_length(tag, found.tp_status & TP_STATUS_VLAN_TPID_VALID ? found.tp_vlan_tpid : ETH_P_8021Q);
            put_length(tag + 2, found.tp_vlan_tci);
            return HEADER + got + TAG;
        }
    }
    memmove(tag, tag + TAG, (size_t)got - MACS);
    return HEADER + got;
}

int main(int argc, char **argv) {
    if (argc != 2)
        errx(1, "usage: tap /dev/tapN, or tap INTERFACE");
    int is_tap = argv[1][0] == '/';
    int tap = is_tap ? open_tap(argv[1]) : open_interface(argv[1]);
    struct pollfd ready[] = {{.fd = tap, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    put_length(buffer, 0);
    write_all(buffer, 2);
    for (;;) {
        if (poll(ready, 2, -1) < 0)
            err(1, "poll");
        if (ready[0].revents) {
            /* The length goes where the end of the header was. */
            ssize_t got = is_tap ? read(tap, buffer, HEADER + FRAME) : receive(tap, buffer);
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
            size_t skipped = is_tap ? 0 : HEADER;
            if (write(tap, buffer + skipped, HEADER + size - skipped) < 0)
                err(1, "%s", argv[1]);
        }
    }
}
