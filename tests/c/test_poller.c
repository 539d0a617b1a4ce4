/* Every poller that this system has, through the same tests: what the loop relies on, and nothing that only
 * one of them does. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include <signal.h>
#include <sys/time.h>

#include "pollers.h"

/* ---- which one ---- */

TEST("makes the pollers that this system has, and says ENOTSUP for the others")
{
    struct poller *p = poller_create(POLLER_BEST);
    CHECK(p != NULL);
#if defined(__linux__)
    CHECK(strcmp(poller_name(p), "epoll") == 0);
#endif
    poller_destroy(p);
    p = poller_create(POLLER_POLL);
    CHECK(p != NULL && strcmp(poller_name(p), "poll") == 0);
    poller_destroy(p);
    CHECK(poller_create((enum poller_kind)99) == NULL && errno == ENOTSUP);
    poller_destroy(NULL);
    int count = 0;
    FOR_EACH_POLLER(p) count++;
    CHECK(count >= 2);
}

/* ---- waiting ---- */

TEST("waits its time, or not at all, while nothing happens")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        check_silent(p, 0);
        int64_t before = now_ms();
        check_silent(p, 40);
        CHECK_MSG(now_ms() - before >= 39, "%s", poller_name(p));
    }
}

static void on_alarm(int signal) { (void)signal; }

TEST("treats a signal as no events")
{
    struct poller *p;
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    FOR_EACH_POLLER(p)
    {
        setitimer(ITIMER_REAL, &often, NULL);
        check_silent(p, SOON_MS);
        setitimer(ITIMER_REAL, &never, NULL);
    }
}

/* ---- connections ---- */

TEST("reports what was there before the connection was added")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = unix_pair(0, 0);
        send_octets(pair.far, "x");
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        CHECK(wait_for(p, 7, POLLER_READ) == POLLER_READ);
        poller_remove(p, pair.near);
        close_pair(&pair);
    }
}

TEST("gives all 64 bits of a tag back")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = unix_pair(0, 0);
        send_octets(pair.far, "x");
        CHECK(poller_add_connection(p, pair.near, UINT64_C(0xfedcba9876543210)) == 0);
        CHECK(flags_for(p, UINT64_C(0xfedcba9876543210), SOON_MS) == POLLER_READ);
        close_pair(&pair);
    }
}

TEST("reports readiness once, and again for what comes after SOCK_AGAIN and poller_arm")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = tcp_pair(0, 0);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        check_silent(p, 0);
        for (int round = 0; round < 5; round++) {
            send_octets(pair.far, "hello");
            CHECK(wait_for(p, 7, POLLER_READ) == POLLER_READ);
            check_silent(p, 0); /* an edge, though nothing was read */
            receive_all(pair.near);
            CHECK(poller_arm(p, pair.near, 7, POLLER_READ) == 0);
            check_silent(p, 0);
        }
        close_pair(&pair);
    }
}

TEST("loses nothing that comes between the last read and poller_arm")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = unix_pair(0, 0);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        for (int round = 0; round < 5; round++) {
            send_octets(pair.far, "x");
            wait_for(p, 7, POLLER_READ);
            receive_all(pair.near);
            send_octets(pair.far, "y");
            CHECK(poller_arm(p, pair.near, 7, POLLER_READ) == 0);
            wait_for(p, 7, POLLER_READ);
            receive_all(pair.near);
            poller_arm(p, pair.near, 7, POLLER_READ);
        }
        close_pair(&pair);
    }
}

TEST("reports the end of the peer's stream, once")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = tcp_pair(0, 0);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        must(shutdown(pair.far, SHUT_WR) == 0, "shutdown");
        uint32_t flags = wait_for(p, 7, POLLER_READ);
        CHECK(flags & POLLER_READ);
#if defined(__linux__)
        CHECK(flags & POLLER_HANGUP);
#endif
        check_silent(p, 0);
        close_pair(&pair);
    }
}

TEST("reports a hangup while octets wait unread and nobody armed anything")
{
#if defined(__linux__) /* elsewhere poll(2) has no POLLRDHUP */
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = tcp_pair(0, 0);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        send_octets(pair.far, "hello");
        CHECK(wait_for(p, 7, POLLER_READ) == POLLER_READ);
        must(shutdown(pair.far, SHUT_WR) == 0, "shutdown");
        wait_for(p, 7, POLLER_HANGUP);
        check_silent(p, 0);
        close_pair(&pair);
    }
#endif
}

TEST("reports a reset as everything at once")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = tcp_pair(0, 0);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        reset(pair.far);
        pair.far = -1;
        uint32_t flags = wait_for(p, 7, POLLER_HANGUP);
        CHECK_MSG(flags == (POLLER_READ | POLLER_WRITE | POLLER_HANGUP), "%s: %u", poller_name(p), flags);
        check_silent(p, 0);
        close_pair(&pair);
    }
}

TEST("reports room to write when it was asked for, and only then")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = unix_pair(4096, 4096);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        check_silent(p, 0); /* writable, but nobody asked */
        for (int round = 0; round < 3; round++) {
            fill_socket(pair.near);
            CHECK(poller_arm(p, pair.near, 7, POLLER_WRITE) == 0);
            check_silent(p, 0);
            receive_all(pair.far);
            CHECK(wait_for(p, 7, POLLER_WRITE) & POLLER_WRITE);
            check_silent(p, 0);
        }
        close_pair(&pair);
    }
}

TEST("reports room to write for a peer that has ended its own stream and waits for the answer")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = unix_pair(4096, 4096);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        must(shutdown(pair.far, SHUT_WR) == 0, "shutdown");
        wait_for(p, 7, POLLER_READ);
        fill_socket(pair.near);
        CHECK(poller_arm(p, pair.near, 7, POLLER_WRITE) == 0);
        CHECK((flags_for(p, 7, 0) & POLLER_WRITE) == 0); /* the hangup may be told again */
        check_silent(p, 0);
        receive_all(pair.far);
        wait_for(p, 7, POLLER_WRITE);
        close_pair(&pair);
    }
}

TEST("loses no room that came between the last send and poller_arm")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = tcp_pair(4096, 4096);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        for (int round = 0; round < 5; round++) {
            CHECK(poller_arm(p, pair.near, 7, POLLER_WRITE) == 0); /* there is room at once */
            wait_for(p, 7, POLLER_WRITE);
        }
        close_pair(&pair);
    }
}

TEST("reports reading and writing both when both were asked for")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = unix_pair(4096, 4096);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        fill_socket(pair.near);
        CHECK(poller_arm(p, pair.near, 7, POLLER_READ | POLLER_WRITE) == 0);
        check_silent(p, 0);
        send_octets(pair.far, "x");
        CHECK(wait_for(p, 7, POLLER_READ) == POLLER_READ);
        receive_all(pair.far);
        CHECK(wait_for(p, 7, POLLER_WRITE) & POLLER_WRITE);
        close_pair(&pair);
    }
}

TEST("reports nothing for a connection that was removed, and takes its descriptor again")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        for (uint64_t tag = 1; tag < 5; tag++) {
            struct pair pair = unix_pair(0, 0);
            CHECK(poller_add_connection(p, pair.near, tag) == 0);
            send_octets(pair.far, "x");
            CHECK(wait_for(p, tag, POLLER_READ) == POLLER_READ);
            CHECK(poller_arm(p, pair.near, tag, POLLER_READ | POLLER_WRITE) == 0);
            CHECK(poller_remove(p, pair.near) == 0);
            CHECK(poller_remove(p, pair.near) == -1);
            check_silent(p, 0);
            close_pair(&pair);
        }
        CHECK(poller_remove(p, 9999) == -1);
        CHECK(poller_add_connection(p, -1, 1) == -1);
    }
}

/* ---- many ---- */

TEST("reports every connection however few events are taken at a time")
{
    enum { COUNT = 100, AT_A_TIME = 7 };
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pairs[COUNT];
        bool seen[COUNT] = {false};
        int found = 0;
        for (int i = 0; i < COUNT; i++) {
            pairs[i] = unix_pair(0, 0);
            CHECK(poller_add_connection(p, pairs[i].near, (uint64_t)i) == 0);
            send_octets(pairs[i].far, "x");
        }
        for (int round = 0; round < COUNT && found < COUNT; round++) {
            struct poller_event events[AT_A_TIME];
            int n = poller_wait(p, events, AT_A_TIME, SOON_MS);
            CHECK(n > 0 && n <= AT_A_TIME);
            for (int i = 0; i < n; i++) {
                CHECK(events[i].tag < COUNT && !seen[events[i].tag]);
                seen[events[i].tag] = true;
                found++;
            }
        }
        CHECK_MSG(found == COUNT, "%s: %d", poller_name(p), found);
        check_silent(p, 0);
        for (int i = 0; i < COUNT; i += 2) /* holes in whatever order */
            CHECK(poller_remove(p, pairs[(i * 37) % COUNT].near) == 0);
        for (int i = 1; i < COUNT; i += 2) {
            int at = (i * 37) % COUNT;
            send_octets(pairs[at].far, "y");
            CHECK(poller_arm(p, pairs[at].near, (uint64_t)at, POLLER_READ) == 0);
            wait_for(p, (uint64_t)at, POLLER_READ);
        }
        for (int i = 0; i < COUNT; i++)
            close_pair(&pairs[i]);
    }
}

/* ---- listeners ---- */

TEST("reports a listener as long as somebody waits there, and not while it is removed")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct sockaddr_in address;
        int listener = tcp_listener(&address);
        CHECK(poller_add_listener(p, listener, 3) == 0);
        check_silent(p, 0);
        int client = tcp_client(&address, 0);
        for (int round = 0; round < 3; round++)
            CHECK(wait_for(p, 3, POLLER_READ) == POLLER_READ);
        CHECK(poller_remove(p, listener) == 0);
        check_silent(p, 0);
        CHECK(poller_add_listener(p, listener, 4) == 0);
        CHECK(wait_for(p, 4, POLLER_READ) == POLLER_READ);
        int fd = accept(listener, NULL, NULL);
        check_silent(p, 0);
        close(fd);
        close(client);
        close(listener);
    }
}

TEST("lets a busy listener starve nobody")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct sockaddr_in address;
        int listener = tcp_listener(&address), client = tcp_client(&address, 0);
        struct pair pair = unix_pair(0, 0);
        struct poller_event event;
        bool seen = false;
        wait_readable(listener);
        send_octets(pair.far, "x");
        CHECK(poller_add_listener(p, listener, 1) == 0 && poller_add_connection(p, pair.near, 2) == 0);
        for (int round = 0; round < 4 && !seen; round++) {
            CHECK(poller_wait(p, &event, 1, SOON_MS) == 1);
            seen = event.tag == 2;
        }
        CHECK_MSG(seen, "%s", poller_name(p));
        close(client);
        close(listener);
        close_pair(&pair);
    }
}

TEST("leaves no descriptor behind")
{
    struct poller *p;
    int before = dup(0);
    close(before);
    FOR_EACH_POLLER(p) CHECK(p != NULL);
    int after = dup(0);
    close(after);
    CHECK(before == after);
}

CHECK_MAIN
