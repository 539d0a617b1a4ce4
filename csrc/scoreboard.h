/* scoreboard.h - what is each thread of each worker serving?
 *
 * What: memory that processes share: for each worker a slot, in it a row for each of its threads.  A thread writes its
 *       own row when it calls the application, with a few stores and no system call; any process may read it at any
 *       time, also when the writer is no more.
 *       A row's text and times are written between two steps of its sequence number: who reads them while they change
 *       sees an odd number, or another one afterwards, and reads again.
 * Owner: whoever made the memory.  It is aligned to 64 octets and zero at the start, which means: nothing is served.
 * Lock: none; a row has one writer, a slot's `accepting` and `beat_ms` are stores of one word.
 * On error: score_read says false when a row does not hold still; its writer may have died in the middle.
 */
#ifndef HEADRACE_SCOREBOARD_H
#define HEADRACE_SCOREBOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    SCORE_METHOD_BYTES = 14,  /* of longer ones the beginning is kept */
    SCORE_TARGET_BYTES = 112,
    SCORE_READS_MAX = 100 /* until a row counts as one that does not hold still */
};

enum score_state {
    SCORE_IDLE,
    SCORE_INSIDE, /* the application runs */
    SCORE_CLIENT, /* it waits for its client: a body, or room to write */
    SCORE_AFTER   /* it has returned; logs, and what ends with its environ */
};

struct score_row {
    uint32_t sequence; /* odd: being written */
    uint32_t state;
    uint64_t requests;  /* begun by this thread */
    uint64_t progress;  /* of what it serves: calls begun, blocks handed over, waits for the client ended */
    uint64_t entered;   /* progress when the present call began */
    uint64_t began_ms;  /* monotonic: the request ... */
    uint64_t since_ms;  /* ... and the present call, which may take up its suspended response */
    uint64_t thread_id; /* as threading.get_native_id() says */
    uint8_t method_bytes;
    uint8_t target_bytes;
    char method[SCORE_METHOD_BYTES];
    char target[SCORE_TARGET_BYTES];
    uint8_t cut; /* the target is longer */
    uint8_t spare[7];
};

struct score_slot {
    uint64_t beat_ms;   /* monotonic: when the worker last had its interpreter lock for certain */
    uint32_t accepting; /* it has its listeners with its poller */
    uint32_t spare[13];
};

_Static_assert(sizeof(struct score_row) == 192, "rows are shared between processes");
_Static_assert(sizeof(struct score_slot) == 64, "slots are shared between processes");

static inline size_t score_slot_bytes(size_t threads)
{
    return sizeof(struct score_slot) + threads * sizeof(struct score_row);
}

static inline struct score_slot *score_slot_at(void *board, size_t threads, size_t slot)
{
    return (struct score_slot *)((char *)board + slot * score_slot_bytes(threads));
}

static inline struct score_row *score_row_at(struct score_slot *slot, size_t thread)
{
    return (struct score_row *)(slot + 1) + thread;
}

static inline void score_set_state(struct score_row *row, enum score_state state)
{
    __atomic_store_n(&row->state, (uint32_t)state, __ATOMIC_RELEASE);
}

static inline enum score_state score_get_state(const struct score_row *row)
{
    return (enum score_state)__atomic_load_n(&row->state, __ATOMIC_ACQUIRE);
}

static inline void score_progress(struct score_row *row)
{
    __atomic_store_n(&row->progress, row->progress + 1, __ATOMIC_RELAXED);
}

static inline uint64_t score_get_progress(const struct score_row *row)
{
    return __atomic_load_n(&row->progress, __ATOMIC_RELAXED);
}

static inline void score_begin_change(struct score_row *row)
{
    __atomic_store_n(&row->sequence, row->sequence + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void score_end_change(struct score_row *row)
{
    __atomic_store_n(&row->sequence, row->sequence + 1, __ATOMIC_RELEASE);
}

/* Between those two: what is asked for.  It stays until it is set anew. */
static inline void score_set_text(struct score_row *row, const char *method, size_t method_len, const char *target,
                                  size_t target_len)
{
    row->method_bytes = (uint8_t)(method_len < SCORE_METHOD_BYTES ? method_len : SCORE_METHOD_BYTES);
    row->cut = target_len > SCORE_TARGET_BYTES;
    row->target_bytes = (uint8_t)(row->cut ? SCORE_TARGET_BYTES : target_len);
    memcpy(row->method, method, row->method_bytes);
    memcpy(row->target, target, row->target_bytes);
}

/* ... and that a call of the application begins: a new request, or one whose response was suspended. */
static inline void score_enter(struct score_row *row, bool is_new, uint64_t now_ms, uint64_t began_ms)
{
    row->requests += is_new;
    row->began_ms = began_ms;
    __atomic_store_n(&row->since_ms, now_ms, __ATOMIC_RELAXED);
    score_progress(row);
    __atomic_store_n(&row->entered, row->progress, __ATOMIC_RELAXED);
    __atomic_store_n(&row->state, (uint32_t)SCORE_INSIDE, __ATOMIC_RELAXED);
}

/* The application waits for its client: that time is not its own. */
static inline void score_begin_wait(struct score_row *row)
{
    score_set_state(row, SCORE_CLIENT);
}

static inline void score_end_wait(struct score_row *row)
{
    score_progress(row);
    score_set_state(row, SCORE_INSIDE);
}

/* A copy of a row as it was at one moment. */
static inline bool score_read(const struct score_row *row, struct score_row *copy)
{
    for (int reads = 0; reads < SCORE_READS_MAX; reads++) {
        uint32_t before = __atomic_load_n(&row->sequence, __ATOMIC_ACQUIRE);
        memcpy(copy, row, sizeof(*copy));
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (before % 2 == 0 && before == __atomic_load_n(&row->sequence, __ATOMIC_RELAXED))
            return true;
    }
    return false;
}

static inline void score_beat(struct score_slot *slot, uint64_t now_ms)
{
    __atomic_store_n(&slot->beat_ms, now_ms, __ATOMIC_RELAXED);
}

static inline void score_set_accepting(struct score_slot *slot, bool accepting)
{
    __atomic_store_n(&slot->accepting, accepting, __ATOMIC_SEQ_CST);
}

/* Does another worker accept connections? */
static inline bool score_others_accept(void *board, size_t slots, size_t threads, const struct score_slot *but)
{
    for (size_t i = 0; i < slots; i++) {
        struct score_slot *slot = score_slot_at(board, threads, i);
        if (slot != but && __atomic_load_n(&slot->accepting, __ATOMIC_SEQ_CST))
            return true;
    }
    return false;
}

#endif
