/* Rows of the scoreboard: what is written is read, whole or not at all.  Several processes: test_scoreboard.py. */
#include "check.h"

#include "scoreboard.h"

static void enter(struct score_row *row, const char *method, const char *target)
{
    score_begin_change(row);
    score_enter(row, true, 2000, 1000);
    score_set_text(row, method, strlen(method), target, strlen(target));
    score_end_change(row);
}

TEST("a row shows what was entered, and one that changes is not read")
{
    struct score_row row = {0}, copy;
    CHECK(score_read(&row, &copy) && score_get_state(&copy) == SCORE_IDLE);
    enter(&row, "GET", "/path");
    CHECK(score_read(&row, &copy));
    CHECK(score_get_state(&copy) == SCORE_INSIDE && copy.requests == 1);
    CHECK(copy.since_ms == 2000 && copy.began_ms == 1000 && copy.entered == score_get_progress(&copy));
    CHECK(copy.method_bytes == 3 && memcmp(copy.method, "GET", 3) == 0);
    CHECK(copy.target_bytes == 5 && memcmp(copy.target, "/path", 5) == 0 && !copy.cut);
    score_begin_change(&row);
    CHECK(!score_read(&row, &copy));
    score_end_change(&row);
    CHECK(score_read(&row, &copy));
}

TEST("text that is longer than its place is cut there, and what lies behind it is left alone")
{
    struct score_row rows[2] = {0};
    char target[SCORE_TARGET_BYTES + 2];
    memset(target, 'x', sizeof(target));
    for (size_t len = SCORE_TARGET_BYTES - 1; len < sizeof(target); len++) {
        target[len] = '\0';
        enter(&rows[0], "AVERYLONGMETHODINDEED", target);
        CHECK(rows[0].method_bytes == SCORE_METHOD_BYTES);
        CHECK(rows[0].target_bytes == (len > SCORE_TARGET_BYTES ? SCORE_TARGET_BYTES : len));
        CHECK((rows[0].cut != 0) == (len > SCORE_TARGET_BYTES));
        CHECK(rows[1].sequence == 0 && rows[1].method_bytes == 0);
        target[len] = 'x';
    }
}

TEST("a wait for the client is progress when it ends, and the call goes on")
{
    struct score_row row = {0};
    enter(&row, "GET", "/");
    score_begin_wait(&row);
    CHECK(score_get_state(&row) == SCORE_CLIENT && score_get_progress(&row) == row.entered);
    score_end_wait(&row);
    CHECK(score_get_state(&row) == SCORE_INSIDE && score_get_progress(&row) == row.entered + 1);
}

TEST("slots and rows lie side by side, and each worker sees whether another one accepts")
{
    enum { SLOTS = 3, THREADS = 2 };
    static _Alignas(64) char board[SLOTS * (sizeof(struct score_slot) + THREADS * sizeof(struct score_row))];
    CHECK(sizeof(board) == SLOTS * score_slot_bytes(THREADS));
    struct score_slot *first = score_slot_at(board, THREADS, 0), *last = score_slot_at(board, THREADS, SLOTS - 1);
    CHECK((char *)(score_row_at(last, THREADS - 1) + 1) == board + sizeof(board));
    CHECK(!score_others_accept(board, SLOTS, THREADS, first));
    score_set_accepting(first, true);
    CHECK(!score_others_accept(board, SLOTS, THREADS, first) && score_others_accept(board, SLOTS, THREADS, last));
    score_set_accepting(first, false);
    CHECK(!score_others_accept(board, SLOTS, THREADS, last));
}

CHECK_MAIN
