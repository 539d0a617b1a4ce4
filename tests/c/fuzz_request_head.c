/* Invariant: a head gets one verdict, however its octets are cut and whichever scanner reads it; it is
 * accepted exactly when a second, slow reading of the grammar accepts it, with the same content, and every
 * offset inside the buffer; framing and rules of what was accepted touch no octet outside it.
 *
 * Input: two octets of limits (0, 0: the defaults), then the message.
 */
#define _DEFAULT_SOURCE 1
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "framing.h"
#include "heads.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void heads_complain(const char *what, const char *buf, size_t len)
{
    (void)buf;
    fprintf(stderr, "%s (%zu octets)\n", what, len);
    abort();
}

enum { MESSAGE_MAX = 8192 };

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return random_state >> 33;
}

/* The end of MESSAGE_MAX octets of room that stands against an unreadable page. */
static char *room_end_get(void)
{
    static char *end;
    if (end == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (MESSAGE_MAX + page - 1) / page * page;
        char *base = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED || mprotect(base + room, page, PROT_NONE) != 0)
            abort();
        end = base + room;
    }
    return end;
}

static struct head_limits limits_from(uint8_t a, uint8_t b)
{
    if (a == 0 && b == 0)
        return default_limits;
    return (struct head_limits){a & 127u, b & 127u, (a >> 5) + 1u, (uint32_t)(a ^ b) * 3u};
}

static void rules_and_framing(const struct verdict *v, const char *buf)
{
    struct request_rules rules;
    uint64_t length = 0;
    enum request_error error;
    enum framing framing = framing_decide(&v->head, buf, &length, &error);
    if ((framing == FRAMING_ERROR) != (error != REQUEST_OK) || length > INT64_MAX)
        abort();
    error = request_rules_check(&v->head, buf, &rules);
    if (error == REQUEST_OK && rules.host_field >= 0 && v->head.fields[rules.host_field].id != FIELD_HOST)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size - 2 > MESSAGE_MAX)
        return 0;
    const struct head_limits limits = limits_from(data[0], data[1]);
    const char *message = (const char *)data + 2;
    size_t len = size - 2;
    char *room_end = room_end_get();
    static struct verdict v;
    random_state = size;
    heads_check(&v, message, len, &limits, room_end, 4, next_random);
    if (v.status != HEAD_DONE)
        return 0;
    memcpy(room_end - v.head.next, message, v.head.next);
    rules_and_framing(&v, room_end - v.head.next);
    return 0;
}
