/* IMF-fixdate, RFC 9110 §5.6.7. */
#include "check.h"

#include <locale.h>
#include <time.h>

#include "http_date.h"

static const char *date_of(int64_t seconds)
{
    static char text[HTTP_DATE_BYTES + 1];
    char *out = guarded_room(HTTP_DATE_BYTES);
    http_date_write(out, seconds);
    memcpy(text, out, HTTP_DATE_BYTES);
    return text;
}

static void check_date(int64_t seconds, const char *expected)
{
    const char *text = date_of(seconds);
    CHECK_MSG(strcmp(text, expected) == 0, "%s, not %s", text, expected);
}

TEST("writes the date of RFC 9110 §5.6.7")
{
    check_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST("writes the first and the last second, leap days and ends of years")
{
    check_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    check_date(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
    check_date(951868799, "Tue, 29 Feb 2000 23:59:59 GMT");
    check_date(951868800, "Wed, 01 Mar 2000 00:00:00 GMT");
    check_date(INT64_C(4107542399), "Sun, 28 Feb 2100 23:59:59 GMT");
    check_date(INT64_C(4107542400), "Mon, 01 Mar 2100 00:00:00 GMT");
    check_date(1735689599, "Tue, 31 Dec 2024 23:59:59 GMT");
    check_date(INT64_C(253402300799), "Fri, 31 Dec 9999 23:59:59 GMT");
}

TEST("clamps what lies outside 1970 to 9999")
{
    check_date(INT64_C(253402300800), "Fri, 31 Dec 9999 23:59:59 GMT");
    check_date(INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
    check_date(-1, "Thu, 01 Jan 1970 00:00:00 GMT");
    check_date(INT64_MIN, "Thu, 01 Jan 1970 00:00:00 GMT");
}

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 1 && leap ? 29 : days[month];
}

static int two_digits(const char *at) { return (at[0] - '0') * 10 + at[1] - '0'; }

TEST("agrees with a calendar that is walked day by day to the end of 9999")
{
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const char weekdays[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    int64_t day = 0;
    for (int year = 1970; year <= 9999; year++) {
        for (int month = 0; month < 12; month++) {
            for (int of_month = 1; of_month <= days_of_month(year, month); of_month++, day++) {
                char out[HTTP_DATE_BYTES];
                http_date_write(out, day * 86400 + day % 86400);
                CHECK(two_digits(out + 12) * 100 + two_digits(out + 14) == year);
                CHECK(two_digits(out + 5) == of_month && memcmp(out + 8, months[month], 3) == 0);
                CHECK(memcmp(out, weekdays[day % 7], 3) == 0);
            }
        }
    }
    CHECK(day == INT64_C(253402300800) / 86400);
}

TEST("agrees with gmtime about every second of a day")
{
    for (time_t seconds = 1700000000; seconds < 1700000000 + 86400; seconds++) {
        char out[HTTP_DATE_BYTES], expected[HTTP_DATE_BYTES + 1];
        struct tm parts;
        http_date_write(out, seconds);
        strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&seconds, &parts));
        CHECK(memcmp(out, expected, HTTP_DATE_BYTES) == 0);
    }
}

TEST("writes English names whatever the locale")
{
    const char *locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", ""};
    for (int i = 0; i < 3 && setlocale(LC_ALL, locales[i]) == NULL; i++)
        continue;
    check_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");
    setlocale(LC_ALL, "C");
}

CHECK_MAIN
