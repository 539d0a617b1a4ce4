/* ours.c - csrc as one question: what does the server make of these octets?  Built by ours.py, for the tests alone.
 *
 * What: one request, head and body, as HeadReader and RequestReceiver take them: request line, fields, the rules across
 *       fields, framing, then octets by length or chunks.  Read whole and in pieces, by each scanner there is, and
 *       every reading must say the same.
 * Owner: the caller owns every buffer.  The message is read where it ends against an unreadable page, so that one octet
 *       too many ends the process.
 * Lock: none, one thread.
 * On error: judge() returns which reading disagreed with the first one, 0 when none did.
 */
#define _DEFAULT_SOURCE 1
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "chunked.h"
#include "framing.h"
#include "request_head.h"
#include "request_lines.h"
#include "request_rules.h"

enum { MESSAGE_BYTES_MAX = 1 << 17, FIELDS_MAX = 100, CUTS_MAX = 6 };

static const struct head_limits limits = {8190, 8190, FIELDS_MAX, 65536};

enum stage { IN_HEAD, IN_BODY, COMPLETE, REFUSED_IN_HEAD, REFUSED_IN_BODY };

/* What ours.py reads, as words of four octets.  What a refusal leaves undecided is 0. */
struct reading {
    uint32_t stage;
    uint32_t error;          /* enum request_error */
    uint32_t used;           /* octets of the request, when it is complete; of what was taken, when it is not */
    uint32_t head_bytes;     /* with an empty line before it */
    uint32_t framing;        /* enum framing */
    uint32_t length_low, length_high;
    uint32_t body_bytes;
    uint32_t trailer_bytes, trailer_fields;
    uint32_t method_at, method_len, target_at, target_len, minor_version;
    uint32_t keep_alive, expect_continue;
    uint32_t field_count;
    struct field_line fields[FIELDS_MAX]; /* not zeroed: only field_count of them are anything */
};

static size_t reading_bytes(const struct reading *r)
{
    return offsetof(struct reading, fields) + r->field_count * sizeof r->fields[0];
}

/* The end of MESSAGE_BYTES_MAX octets that stand against an unreadable page. */
static char *room_end_get(void)
{
    static char *end;
    if (end == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        char *base = mmap(NULL, MESSAGE_BYTES_MAX + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED || mprotect(base + MESSAGE_BYTES_MAX, page, PROT_NONE) != 0)
            return NULL;
        end = base + MESSAGE_BYTES_MAX;
    }
    return end;
}

/* ---- one reading ---- */

struct reader {
    struct request_head head;
    struct chunk_decoder decoder;
    uint64_t left; /* of a body with a length */
    struct reading *r;
    char *body;
};

static void refuse(struct reading *r, enum stage stage, enum request_error error)
{
    *r = (struct reading){.stage = stage, .error = error};
}

/* The head is complete: what it says. */
static void head_take(struct reader *reader, const char *buf)
{
    struct request_head *h = &reader->head;
    struct reading *r = reader->r;
    struct request_rules rules;
    enum request_error error = request_rules_check(h, buf, &rules);
    uint64_t length = 0;
    if (error != REQUEST_OK) {
        refuse(r, REFUSED_IN_HEAD, error);
        return;
    }
    enum framing framing = framing_decide(h, buf, &length, &error);
    if (framing == FRAMING_ERROR) {
        refuse(r, REFUSED_IN_HEAD, error);
        return;
    }
    reader->left = length;
    r->stage = framing == FRAMING_CHUNKED || length > 0 ? IN_BODY : COMPLETE;
    r->used = r->head_bytes = h->next;
    r->framing = framing;
    r->length_low = (uint32_t)length;
    r->length_high = (uint32_t)(length >> 32);
    r->method_at = h->method_at;
    r->method_len = h->method_len;
    r->target_at = h->target_at;
    r->target_len = h->target_len;
    r->minor_version = h->minor_version;
    r->keep_alive = rules.keep_alive;
    r->expect_continue = rules.expect_continue;
    r->field_count = h->field_count;
}

static void length_take(struct reader *reader, const char *at, size_t len)
{
    struct reading *r = reader->r;
    size_t taken = reader->left < len ? (size_t)reader->left : len;
    memcpy(reader->body + r->body_bytes, at, taken);
    r->body_bytes += (uint32_t)taken;
    r->used += (uint32_t)taken;
    reader->left -= taken;
    if (reader->left == 0)
        r->stage = COMPLETE;
}

static void chunks_take(struct reader *reader, const char *at, size_t len)
{
    struct reading *r = reader->r;
    enum chunk_status status;
    do {
        size_t consumed, data_len;
        const char *data;
        status = chunk_decode(&reader->decoder, at, len, &limits, &consumed, &data, &data_len);
        if (data_len > 0)
            memcpy(reader->body + r->body_bytes, data, data_len);
        r->body_bytes += (uint32_t)data_len;
        r->used += (uint32_t)consumed;
        at += consumed;
        len -= consumed;
    } while (status == CHUNK_DATA);
    r->trailer_bytes = reader->decoder.trailer_bytes;
    r->trailer_fields = reader->decoder.trailer_fields;
    if (status == CHUNK_DONE)
        r->stage = COMPLETE;
    else if (status == CHUNK_ERROR)
        refuse(r, REFUSED_IN_BODY, reader->decoder.error);
}

/* `upto` octets of the message are there now, at buf. */
static void more(struct reader *reader, const char *buf, size_t upto)
{
    struct reading *r = reader->r;
    if (r->stage == IN_HEAD) {
        enum head_status status = request_line_parse(&reader->head, buf, upto, &limits);
        if (status == HEAD_DONE)
            status = request_fields_parse(&reader->head, buf, upto, &limits);
        if (status == HEAD_ERROR)
            refuse(r, REFUSED_IN_HEAD, reader->head.error);
        else if (status == HEAD_DONE)
            head_take(reader, buf);
    }
    if (r->stage != IN_BODY || upto == r->used)
        return;
    if (r->framing == FRAMING_LENGTH)
        length_take(reader, buf + r->used, upto - r->used);
    else
        chunks_take(reader, buf + r->used, upto - r->used);
}

/* Each piece ends against the unreadable page, so the message moves between two of them. */
static void read_in_pieces(struct reading *r, char *body, const char *message, size_t len, const uint32_t *cuts,
                           size_t cut_count)
{
    struct reader reader = {.r = r, .body = body};
    char *room_end = room_end_get();
    memset(r, 0, offsetof(struct reading, fields));
    request_head_reset(&reader.head, r->fields);
    chunk_decoder_reset(&reader.decoder);
    for (size_t i = 0; i <= cut_count && r->stage <= IN_BODY; i++) {
        size_t upto = i < cut_count ? cuts[i] : len;
        memcpy(room_end - upto, message, upto);
        more(&reader, room_end - upto, upto);
    }
}

/* ---- all readings ---- */

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)((random_state >> 33) % n);
}

/* 1 to CUTS_MAX of them, ascending. */
static size_t cuts_choose(uint32_t *cuts, size_t len)
{
    size_t count = 1 + random_below(CUTS_MAX);
    for (size_t i = 0; i < count; i++) {
        uint32_t cut = random_below((uint32_t)len + 1);
        size_t at = i;
        for (; at > 0 && cuts[at - 1] > cut; at--)
            cuts[at] = cuts[at - 1];
        cuts[at] = cut;
    }
    return count;
}

/* *r and body are the reading of the whole.  0: all `cut_rounds` random cuts, and octet by octet where `by_octet`, read
 * the same by every scanner; 1 to 3: what did not (whole, cut, by octet), -1: no memory, or too long. */
__attribute__((visibility("default"))) int judge(const char *message, size_t len, uint64_t seed, int cut_rounds,
                                                 int by_octet, struct reading *r, char *body)
{
    static struct reading other;
    static char other_body[MESSAGE_BYTES_MAX];
    static const enum request_lines_variant variants[] = {REQUEST_LINES_SCALAR, REQUEST_LINES_AVX2, REQUEST_LINES_NEON};
    static uint32_t each[MESSAGE_BYTES_MAX];
    if (len > MESSAGE_BYTES_MAX || room_end_get() == NULL)
        return -1;
    random_state = seed;
    request_lines_use(REQUEST_LINES_BEST);
    read_in_pieces(r, body, message, len, NULL, 0);
    for (size_t v = 0; v < sizeof variants / sizeof variants[0]; v++) {
        if (!request_lines_use(variants[v]))
            continue;
        for (int round = 0; round <= cut_rounds + (by_octet ? 1 : 0); round++) {
            uint32_t cuts[CUTS_MAX], *at = cuts;
            size_t count = 0;
            if (round > cut_rounds) {
                at = each;
                for (; count < len; count++)
                    each[count] = (uint32_t)count;
            } else if (round > 0) {
                count = cuts_choose(cuts, len);
            }
            read_in_pieces(&other, other_body, message, len, at, count);
            if (memcmp(r, &other, reading_bytes(r)) != 0 || memcmp(body, other_body, r->body_bytes) != 0)
                return round == 0 ? 1 : round > cut_rounds ? 3 : 2;
        }
    }
    return 0;
}
