/* char_rules.h - the octet classes as constant expressions, straight from the RFCs.
 *
 * What: chars.c makes its table from them, the vector scanners their nibble tables; nothing else includes
 *       this.
 * Owner, lock, errors: these are macros over a constant `c` in 0..255.
 */
#ifndef HEADRACE_CHAR_RULES_H
#define HEADRACE_CHAR_RULES_H

#define RULE_DIGIT(c) ((c) >= '0' && (c) <= '9')
#define RULE_ALPHA(c) (((c) >= 'a' && (c) <= 'z') || ((c) >= 'A' && (c) <= 'Z'))
#define RULE_HEXDIG(c) (RULE_DIGIT(c) || ((c) >= 'a' && (c) <= 'f') || ((c) >= 'A' && (c) <= 'F'))

/* RFC 9110 §5.6.2: tchar */
#define RULE_TOKEN(c)                                                                                        \
    (RULE_DIGIT(c) || RULE_ALPHA(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' || \
     (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' || (c) == '^' || (c) == '_' ||      \
     (c) == '`' || (c) == '|' || (c) == '~')
/* A field name that needs no second look: "_" ends the fast scan (see FIELD_UNDERSCORE). */
#define RULE_PLAIN_NAME(c) (RULE_TOKEN(c) && (c) != '_')

/* RFC 9110 §5.5: field-vchar, SP, HTAB; obs-text is passed on as it is */
#define RULE_FIELD_VALUE(c) ((c) == '\t' || ((c) >= 0x20 && (c) != 0x7f))
/* RFC 9110 §5.6.4 */
#define RULE_QDTEXT(c) (RULE_FIELD_VALUE(c) && (c) != '"' && (c) != '\\')

/* RFC 3986 §2.3 and §2.2 */
#define RULE_UNRESERVED(c) \
    (RULE_DIGIT(c) || RULE_ALPHA(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define RULE_SUB_DELIM(c)                                                                               \
    ((c) == '!' || (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' || (c) == ')' || (c) == '*' || \
     (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=')
#define RULE_REG_NAME(c) (RULE_UNRESERVED(c) || RULE_SUB_DELIM(c))

/* RFC 3986 §3.3: pchar and "/" without "%"; and "|", "[", "]", "^", which browsers that follow the WHATWG URL
 * standard ("path percent-encode set") send unescaped. */
#define RULE_PLAIN_PATH(c)                                                                                   \
    (RULE_REG_NAME(c) || (c) == ':' || (c) == '@' || (c) == '/' || (c) == '|' || (c) == '[' || (c) == ']' || \
     (c) == '^')
#define RULE_PATH(c) (RULE_PLAIN_PATH(c) || (c) == '%')

/* RFC 3986 §3.4 and the WHATWG URL standard ("query percent-encode set"): the server never decodes it, so "%"
 * is an octet like any other. */
#define RULE_QUERY(c) (RULE_PATH(c) || (c) == '?' || (c) == '`' || (c) == '{' || (c) == '}' || (c) == '\\')

/* A class of ASCII octets as two tables of 16, for instructions that look up a table of that size:
 * `LOW_TABLE` gives for the low half of an octet the set of high halves (0..7, one bit each) that make a
 * member, `HIGH_TABLE` for the high half its bit. */
#define HALVES(RULE, low)                                                                           \
    ((RULE(0x00 + (low)) ? 1 : 0) | (RULE(0x10 + (low)) ? 2 : 0) | (RULE(0x20 + (low)) ? 4 : 0) |   \
     (RULE(0x30 + (low)) ? 8 : 0) | (RULE(0x40 + (low)) ? 16 : 0) | (RULE(0x50 + (low)) ? 32 : 0) | \
     (RULE(0x60 + (low)) ? 64 : 0) | (RULE(0x70 + (low)) ? 128 : 0))
#define LOW_TABLE(RULE)                                                                                   \
    HALVES(RULE, 0), HALVES(RULE, 1), HALVES(RULE, 2), HALVES(RULE, 3), HALVES(RULE, 4), HALVES(RULE, 5), \
        HALVES(RULE, 6), HALVES(RULE, 7), HALVES(RULE, 8), HALVES(RULE, 9), HALVES(RULE, 10),             \
        HALVES(RULE, 11), HALVES(RULE, 12), HALVES(RULE, 13), HALVES(RULE, 14), HALVES(RULE, 15)
#define HIGH_TABLE 1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0

#endif
