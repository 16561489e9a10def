/* k8slan-cni: the executable that a container runtime calls for every pod.
 *
 * It carries a CNI request and the pod's network namespace to k8slan's agent and carries the answer back. It decides
 * nothing about networks: it only knows what to say when there is no answer. The bytes on the socket are described
 * in k8slan_cli/cni/wire.py; k8slan_cli/cli/cni.py is the same client in Python, and one test suite runs
 * both. There is no heap, no thread and no library: two static buffers, one sendmsg, one deadline over everything. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NEWEST "1.1.0"
#define SUPPORTED "\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\""
#define LOOK_HERE "see whether the agent runs on this node: kubectl -n k8slan-system get pods -o wide"

enum {
    HEADER = 8, /* "k8s1" and the payload's length */
    VARS_MAX = 64 << 10,
    STDIN_MAX = 1 << 20,
    ANSWER_HEAD = 5, /* length and exit status */
    ANSWER_MAX = 4 << 20,
    VERSION_MAX = 32,
    ERROR_INVALID_ENVIRONMENT = 4,
    ERROR_IO = 5,
    ERROR_DECODE = 6,
    ERROR_TRY_AGAIN = 11,
    ERROR_NOT_AVAILABLE = 50,
};

struct verb {
    const char *name;
    int seconds;      /* how long all of it may take */
    int when_gone;    /* the error when no agent answers; 0: leave the request for later */
    bool may_be_mute; /* success may come without a result */
};

static const struct verb VERBS[] = {
    {"ADD", 60, ERROR_TRY_AGAIN, false},        {"DEL", 20, 0, true},
    {"CHECK", 60, ERROR_TRY_AGAIN, true},       {"GC", 60, ERROR_TRY_AGAIN, true},
    {"STATUS", 60, ERROR_NOT_AVAILABLE, true}, {"VERSION", 60, 0, false},
};

static char request[HEADER + VARS_MAX + STDIN_MAX + 1];
static size_t request_size;    /* the header included */
static char *config = request; /* where in it the configuration from stdin lies */
static size_t config_size;
static unsigned char answer[ANSWER_HEAD + ANSWER_MAX];

/* ---------------------------------------------------------------- what is parsed (fuzzed by tests/fuzz/forwarder) */

/* Find the value of the top-level "cniVersion"; the last one counts. "1.1.0" when there is none or it is not made of
 * digits and dots. The same machine as asked() in k8slan_cli/cni/versions.py. */
static void find_version(const char *json, size_t size, char version[VERSION_MAX])
{
    bool key = false, value = false; /* the last string was the key; a ':' stood behind it */
    int depth = 0;

    strcpy(version, NEWEST);
    for (size_t i = 0; i < size; i++) {
        char c = json[i];
        if (c == '"') {
            size_t start = ++i;
            while (i < size && json[i] != '"')
                i += json[i] == '\\' ? 2 : 1;
            if (i >= size)
                return;
            size_t length = i - start;
            if (depth == 1 && value) {
                size_t good = 0;
                while (good < length && json[start + good] && strchr("0123456789.", json[start + good]))
                    good++;
                bool safe = length > 0 && good == length && length < VERSION_MAX;
                snprintf(version, VERSION_MAX, "%.*s", safe ? (int)length : VERSION_MAX, safe ? json + start : NEWEST);
            }
            key = depth == 1 && !value && length == 10 && memcmp(json + start, "cniVersion", 10) == 0;
            value = false;
        } else if (c == ':') {
            value = key && depth == 1;
        } else if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            if (c == '{' || c == '[')
                depth++;
            else if (c == '}' || c == ']')
                depth--;
            key = value = false;
        }
    }
}

/* What an answer's first four bytes say: the number of bytes behind them. */
static size_t length_of(const unsigned char *bytes)
{
    uint32_t length;
    memcpy(&length, bytes, 4);
    return ntohl(length);
}

/* Judge what has come of an answer: 0 more has to come, 1 it is whole, -1 it is none. */
static int judge(const unsigned char *bytes, size_t size, bool may_be_mute)
{
    if (size < ANSWER_HEAD)
        return 0;
    size_t length = length_of(bytes);
    if (length < 1 || length > 1 + ANSWER_MAX || bytes[4] > 1)
        return -1;
    if (size < 4 + length)
        return 0;
    if (length == 1)
        return may_be_mute && bytes[4] == 0 ? 1 : -1;
    return bytes[ANSWER_HEAD] == '{' && bytes[4 + length - 1] == '}' ? 1 : -1;
}

/* Write text as a JSON string's inside; what is not ASCII becomes '?'. Always fits if there is 6 times the room. */
static void escape(const char *text, char *out, size_t room)
{
    size_t used = 0;
    for (; *text && used + 7 <= room; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            used += (size_t)snprintf(out + used, room - used, "\\%c", c);
        else if (c < 0x20)
            used += (size_t)snprintf(out + used, room - used, "\\u%04x", c);
        else
            out[used++] = c < 0x7f ? (char)c : '?';
    }
    out[used] = 0;
}

/* ---------------------------------------------------------------- time, input, output */

static int64_t deadline; /* on the monotonic clock, in milliseconds */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Wait until a descriptor is ready, at most until the deadline (ETIMEDOUT). */
static bool wait_for(int fd, short events)
{
    for (;;) {
        int64_t left = deadline - now();
        if (left <= 0) {
            errno = ETIMEDOUT;
            return false;
        }
        struct pollfd p = {.fd = fd, .events = events};
        int ready = poll(&p, 1, left > 1000000 ? 1000000 : (int)left);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

static bool worth_another_try(int fd, short events)
{
    return errno == EINTR || ((errno == EAGAIN || errno == EWOULDBLOCK) && wait_for(fd, events));
}

static bool write_all(int fd, const void *data, size_t size)
{
    for (const char *p = data; size > 0;) {
        ssize_t n = write(fd, p, size);
        if (n >= 0) {
            p += n;
            size -= (size_t)n;
        } else if (!worth_another_try(fd, POLLOUT)) {
            return false;
        }
    }
    return true;
}

/* Print an error object (CNI spec 1.1.0, "Error") and end. */
__attribute__((format(printf, 3, 4), noreturn)) static void fail(int code, const char *details, const char *format, ...)
{
    static char msg[1024], escaped[6 * sizeof msg + 7], text[sizeof escaped + 512];
    char version[VERSION_MAX];
    va_list values;

    va_start(values, format);
    vsnprintf(msg, sizeof msg, format, values);
    va_end(values);
    escape(msg, escaped, sizeof escaped);
    find_version(config, config_size, version);
    int size = snprintf(text, sizeof text, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\"%s%s%s}", version, code,
                        escaped, *details ? ",\"details\":\"" : "", details, *details ? "\"" : "");
    write_all(STDOUT_FILENO, text, (size_t)size);
    exit(1);
}

/* ---------------------------------------------------------------- the steps */

/* Put the CNI_* variables and all of stdin behind the header's place in the request. */
static void gather(char **environment)
{
    request_size = HEADER;
    for (char **variable = environment; *variable; variable++) {
        size_t size = strlen(*variable) + 1;
        if (strncmp(*variable, "CNI_", 4) != 0)
            continue;
        if (request_size + size >= HEADER + VARS_MAX)
            fail(ERROR_INVALID_ENVIRONMENT, "", "the CNI_* variables take more than %d bytes", VARS_MAX);
        memcpy(request + request_size, *variable, size);
        request_size += size;
    }
    request[request_size++] = 0;
    config = request + request_size;
    for (;;) {
        ssize_t n = -1;
        if (wait_for(STDIN_FILENO, POLLIN))
            n = read(STDIN_FILENO, config + config_size, STDIN_MAX + 1 - config_size);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            fail(ERROR_IO, "", "cannot read the configuration from stdin: %s",
                 errno == ETIMEDOUT ? "it does not end" : strerror(errno));
        if (n == 0)
            break;
        if (n > 0)
            config_size += (size_t)n;
        if (config_size > STDIN_MAX)
            fail(ERROR_DECODE, "", "the configuration on stdin is larger than %d bytes", STDIN_MAX);
    }
    request_size += config_size;
    uint32_t size = htonl((uint32_t)(request_size - HEADER));
    memcpy(request, "k8s1", 4);
    memcpy(request + 4, &size, 4);
}

/* Connect; a full queue of the agent's is waited for. */
static int dial(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int64_t left = deadline - now();
    struct timeval limit = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 + 1};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
        return -1;
    while (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0)
        if (errno != EINTR)
            return -1;
    return fd;
}

/* Send the request and, with its first byte, the namespace. An agent that hangs up early may have said why, so that
 * is no error yet. */
static void ask(int fd, int netns)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control = {0};
    for (size_t sent = 0; sent < request_size;) {
        struct iovec data = {.iov_base = request + sent, .iov_len = request_size - sent};
        struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
        if (sent == 0 && netns >= 0) {
            message.msg_control = control.bytes;
            message.msg_controllen = sizeof control.bytes;
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(header), &netns, sizeof(int));
        }
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            sent += (size_t)n;
        else if (!worth_another_try(fd, POLLOUT))
            return;
    }
}

/* Read the answer; returns NULL when it is whole, else what is wrong. */
static const char *hear(int fd, bool may_be_mute)
{
    for (size_t size = 0;;) {
        ssize_t n = recv(fd, answer + size, sizeof answer - size, MSG_DONTWAIT);
        if (n == 0)
            return "it hung up before its answer was complete";
        if (n < 0 && !worth_another_try(fd, POLLIN))
            return errno == ETIMEDOUT ? "it did not answer in time" : strerror(errno);
        size += n > 0 ? (size_t)n : 0;
        int verdict = judge(answer, size, may_be_mute);
        if (verdict != 0)
            return verdict > 0 ? NULL : "what it sent is not an answer";
    }
}

/* Open a directory of the agent's below another, or make it: after a boot the first DELs come before the agent does.
 * One that another user could change is refused, with errno 0. */
static int enter(int parent, const char *name, mode_t mode)
{
    struct stat found;
    if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)
        return -1;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) < 0)
        return -1;
    if (found.st_uid == geteuid() && (!(found.st_mode & (S_IWGRP | S_IWOTH)) || found.st_mode & S_ISVTX))
        return fd;
    errno = 0;
    return -1;
}

/* Leave the request where the agent finds it when it is there: written aside, then renamed, so it is there wholly or
 * not at all. Returns NULL when it is left, else what is wrong. */
static const char *spool(const char *directory)
{
    static const char *const not_ours =
        "it or its parent belongs to another user, or others may write to it: remove it";
    char aside[32];
    uint64_t chance = 0;
    int run = enter(AT_FDCWD, directory, 0755), folder = run < 0 ? -1 : enter(run, "spool", 0700);
    if (folder < 0)
        return errno ? strerror(errno) : not_ours;
    if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
        return strerror(errno);
    snprintf(aside, sizeof aside, ".del-%016llx", (unsigned long long)chance);
    int fd = openat(folder, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return strerror(errno);
    bool whole = write_all(fd, request + HEADER, request_size - HEADER);
    int reason = errno;
    whole = close(fd) == 0 && whole;
    if (whole && renameat(folder, aside, folder, aside + 1) == 0)
        return NULL;
    reason = whole ? errno : reason;
    unlinkat(folder, aside, 0);
    return strerror(reason);
}

int main(int argc, char **argv, char **environment)
{
    (void)argc, (void)argv;
    const char *command = getenv("CNI_COMMAND"), *namespace = getenv("CNI_NETNS");
    const char *directory = getenv("K8SLAN_RUN_DIR"), *limit = getenv("K8SLAN_TIMEOUT");
    const struct verb *verb = NULL;
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    deadline = now() + 60000;
    for (size_t i = 0; command && i < sizeof VERBS / sizeof *VERBS; i++)
        if (strcmp(command, VERBS[i].name) == 0)
            verb = &VERBS[i];
    if (!verb)
        fail(ERROR_INVALID_ENVIRONMENT, "", "CNI_COMMAND is %.64s: expected ADD, DEL, CHECK, GC, STATUS or VERSION",
             command ? command : "not set");
    double seconds = limit ? strtod(limit, NULL) : 0;
    deadline = now() + (seconds > 0 && seconds < 86400 ? (int64_t)(seconds * 1000) : verb->seconds * 1000);

    gather(environment);
    if (strcmp(verb->name, "VERSION") == 0) {
        char version[VERSION_MAX], text[256];
        find_version(config, config_size, version);
        bool known = strstr(SUPPORTED, version) && strlen(version) == strlen(NEWEST);
        int size = snprintf(text, sizeof text, "{\"cniVersion\":\"%s\",\"supportedVersions\":[" SUPPORTED "]}",
                            known ? version : NEWEST);
        return !write_all(STDOUT_FILENO, text, (size_t)size);
    }

    directory = directory && *directory ? directory : "/run/k8slan";
    int path = snprintf(address.sun_path, sizeof address.sun_path, "%s/agent/cni.sock", directory);
    if (path >= (int)sizeof address.sun_path)
        fail(ERROR_INVALID_ENVIRONMENT, "", "K8SLAN_RUN_DIR is too long for the path of a socket");
    int netns = namespace && *namespace ? open(namespace, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    int agent = dial(&address);
    const char *trouble = strerror(errno);
    if (agent >= 0) {
        ask(agent, netns);
        trouble = hear(agent, verb->may_be_mute);
    }
    if (!trouble)
        return !write_all(STDOUT_FILENO, answer + ANSWER_HEAD, length_of(answer) - 1) || answer[4];
    if (verb->when_gone)
        fail(verb->when_gone, LOOK_HERE, "no answer from k8slan's agent at %s: %s", address.sun_path, trouble);
    const char *obstacle = spool(directory);
    if (obstacle)
        fail(ERROR_IO, LOOK_HERE, "no answer from k8slan's agent at %s (%s), nor can this wait in %s/spool: %s",
             address.sun_path, trouble, directory, obstacle);
    return 0;
}
