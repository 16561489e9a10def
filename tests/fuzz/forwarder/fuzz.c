/* Fuzzes what the CNI forwarder parses: the configuration's version, the agent's answers, text to be escaped.
 *
 * The first byte of an input chooses the target, the rest is its data. Memory faults are found by the sanitizers;
 * beyond them each target holds a property, and calls abort() where it does not hold. */

#define main forwarder_main
#include "../../../cni_plugins/forwarder.c"
#undef main

static void demand(bool holds)
{
    if (!holds)
        abort();
}

/* The version is always one that can be printed, and one that does not stand in the text is the newest. */
static void fuzz_version(const char *json, size_t size)
{
    char version[VERSION_MAX];
    memset(version, 'x', sizeof version);
    find_version(json, size, version);
    size_t length = strnlen(version, sizeof version);
    demand(length > 0 && length < sizeof version && strspn(version, "0123456789.") == length);
    demand(strcmp(version, NEWEST) == 0 || memmem(json, size, version, length));
}

/* A verdict, once there is one, never changes; only what is complete is taken for an answer; more is only waited for if
 * there is room for it. */
static int verdict_on(const unsigned char *bytes, size_t size, bool may_be_mute)
{
    int verdict = 0;
    for (size_t n = 0; n <= size; n++) {
        int next = judge(bytes, n, may_be_mute);
        demand(verdict == 0 || next == verdict);
        if (verdict == 0 && next > 0)
            demand(n == 4 + length_of(bytes));
        if (next == 0 && n >= ANSWER_HEAD)
            demand(4 + length_of(bytes) <= sizeof answer);
        verdict = next;
    }
    return verdict;
}

/* What is heard on a socket is what was judged, however the bytes come. */
static void fuzz_hear(const unsigned char *bytes, size_t size, bool may_be_mute)
{
    int pair[2], verdict = verdict_on(bytes, size, may_be_mute);
    demand(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    demand(write(pair[1], bytes, size) == (ssize_t)size);
    close(pair[1]);
    deadline = now() + 10000;
    demand((hear(pair[0], may_be_mute) == NULL) == (verdict > 0));
    if (verdict > 0)
        demand(memcmp(answer, bytes, 4 + length_of(bytes)) == 0);
    close(pair[0]);
}

/* Whatever goes in, what comes out is the inside of a JSON string, and is cut at a character if there is no room. */
static void fuzz_escape(const char *data, size_t size)
{
    char text[512], out[64];
    size_t length = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, data, length);
    text[length] = 0;
    escape(text, out, sizeof out);
    for (const char *p = out; *p; p++) {
        demand(*p >= 0x20 && *p < 0x7f && *p != '"');
        if (*p != '\\')
            continue;
        p++;
        demand(*p == '"' || *p == '\\' || (*p == 'u' && strspn(p + 1, "0123456789abcdef") >= 4));
        p += *p == 'u' ? 4 : 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 4) {
    case 0:
        fuzz_version((const char *)data + 1, size - 1);
        break;
    case 1:
    case 2:
        fuzz_hear(data + 1, size - 1, data[0] % 4 == 1);
        break;
    default:
        fuzz_escape((const char *)data + 1, size - 1);
    }
    return 0;
}
