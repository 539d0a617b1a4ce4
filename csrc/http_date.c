#include "http_date.h"

#include <string.h>

enum { DAY_SECONDS = 86400 };

static const int64_t last_second = INT64_C(253402300799); /* Fri, 31 Dec 9999 23:59:59 GMT */

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";

struct civil_date {
    unsigned year, month_from_march, day; /* month 0 is March: the leap day is then the last of its year */
};

/* The proleptic Gregorian calendar, in 400-year eras of 146097 days that begin on 1 March. */
static struct civil_date civil_from_days(unsigned days_from_1970)
{
    unsigned days = days_from_1970 + 719468; /* from 1 March of year 0 */
    unsigned era = days / 146097, day_of_era = days % 146097;
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month = (5 * day_of_year + 2) / 153;
    return (struct civil_date){
        .year = era * 400 + year_of_era + (month >= 10),
        .month_from_march = month,
        .day = day_of_year - (153 * month + 2) / 5 + 1,
    };
}

static void two_digits(char *out, unsigned value)
{
    out[0] = (char)('0' + value / 10);
    out[1] = (char)('0' + value % 10);
}

void http_date_write(char out[HTTP_DATE_BYTES], int64_t unix_seconds)
{
    int64_t seconds = unix_seconds < 0 ? 0 : unix_seconds > last_second ? last_second : unix_seconds;
    unsigned days = (unsigned)(seconds / DAY_SECONDS), second = (unsigned)(seconds % DAY_SECONDS);
    struct civil_date date = civil_from_days(days);

    static const char pattern[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    _Static_assert(sizeof(pattern) - 1 == HTTP_DATE_BYTES, "the length of an IMF-fixdate");
    memcpy(out, pattern, HTTP_DATE_BYTES);
    memcpy(out, day_names + (days + 4) % 7 * 3, 3); /* 1 January 1970 was a Thursday */
    two_digits(out + 5, date.day);
    memcpy(out + 8, month_names + date.month_from_march * 3, 3);
    two_digits(out + 12, date.year / 100);
    two_digits(out + 14, date.year % 100);
    two_digits(out + 17, second / 3600);
    two_digits(out + 20, second / 60 % 60);
    two_digits(out + 23, second % 60);
}
