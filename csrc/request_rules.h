/* request_rules.h - what the fields of a complete request head say about the connection and the host.
 *
 * What: Host (RFC 9112 §3.2), Connection (RFC 9110 §7.6.1, RFC 9112 §9.3), Expect (RFC 9110 §10.1.1) and the
 *       fields that may come once only.
 * Owner: borrows the parsed head and its buffer.  Lock: none.
 * On error: an enum request_error; REQUEST_OK when every rule holds.
 */
#ifndef HEADRACE_REQUEST_RULES_H
#define HEADRACE_REQUEST_RULES_H

#include "request_head.h"

struct request_rules {
    bool keep_alive;      /* the client lets the connection persist; `close` wins over everything */
    bool expect_continue; /* "Expect: 100-continue" on HTTP/1.1 (ignored on 1.0, RFC 9110 §10.1.1) */
    int32_t host_field;   /* index of the Host field, -1 when there is none */
};

/* RFC 3986 §3.2.2/3: uri-host [ ":" port ]; no userinfo.  An empty value is valid only where `empty_ok`. */
bool authority_is_valid(const char *at, size_t len, bool empty_ok);

enum request_error request_rules_check(const struct request_head *head, const char *buf,
                                       struct request_rules *rules);

#endif
