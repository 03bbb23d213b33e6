//! `strftime_now`: today's date for templates, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A moment in UTC.
struct Civil {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    /// Day of the year, from 1.
    ordinal: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Civil {
    /// Days to a date after Howard Hinnant's `civil_from_days`.
    fn new(time: SystemTime) -> Self {
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs()) as i64;
        let days = seconds.div_euclid(86_400);
        let in_day = seconds.rem_euclid(86_400);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let march_first = 59 + i64::from(leap);
        Self {
            year,
            month: month as usize,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            weekday: (days + 4).rem_euclid(7) as usize,
            ordinal: if month > 2 {
                day_of_year + march_first + 1
            } else {
                day_of_year - 305
            },
            hour: in_day / 3600,
            minute: in_day / 60 % 60,
            second: in_day % 60,
        }
    }
}

/// Formats like C's `strftime` in the C locale. Codes that no template uses are copied as they are.
pub(super) fn strftime(format: &str, time: SystemTime) -> String {
    let now = Civil::new(time);
    let twelve = if now.hour % 12 == 0 {
        12
    } else {
        now.hour % 12
    };
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let unpadded = chars.next_if_eq(&'-').is_some();
        let two = |value: i64| {
            if unpadded {
                value.to_string()
            } else {
                format!("{value:02}")
            }
        };
        match chars.next() {
            Some('Y') => out += &now.year.to_string(),
            Some('y') => out += &two(now.year % 100),
            Some('m') => out += &two(now.month as i64),
            Some('d') => out += &two(now.day),
            Some('e') => out += &format!("{:2}", now.day),
            Some('H') => out += &two(now.hour),
            Some('I') => out += &two(twelve),
            Some('M') => out += &two(now.minute),
            Some('S') => out += &two(now.second),
            Some('j') => {
                out += &if unpadded {
                    now.ordinal.to_string()
                } else {
                    format!("{:03}", now.ordinal)
                }
            }
            Some('p') => out += if now.hour < 12 { "AM" } else { "PM" },
            Some('B') => out += MONTHS[now.month - 1],
            Some('b' | 'h') => out += &MONTHS[now.month - 1][..3],
            Some('A') => out += DAYS[now.weekday],
            Some('a') => out += &DAYS[now.weekday][..3],
            Some('F') => out += &format!("{}-{:02}-{:02}", now.year, now.month, now.day),
            Some('T') => out += &format!("{:02}:{:02}:{:02}", now.hour, now.minute, now.second),
            Some('Z') => out += "UTC",
            Some('z') => out += "+0000",
            Some('%') => out.push('%'),
            other => {
                out += if unpadded { "%-" } else { "%" };
                out.extend(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn agrees_with_python() {
        // datetime.fromtimestamp(n, timezone.utc).strftime(...)
        let all = "%Y-%m-%d %y %B %b %A %a %H:%M:%S %I %p %j %-d %e %%";
        for (seconds, expected) in [
            (
                0,
                "1970-01-01 70 January Jan Thursday Thu 00:00:00 12 AM 001 1  1 %",
            ),
            (
                1_709_211_599,
                "2024-02-29 24 February Feb Thursday Thu 12:59:59 12 PM 060 29 29 %",
            ),
            (
                1_735_689_599,
                "2024-12-31 24 December Dec Tuesday Tue 23:59:59 11 PM 366 31 31 %",
            ),
            (
                1_772_323_200,
                "2026-03-01 26 March Mar Sunday Sun 00:00:00 12 AM 060 1  1 %",
            ),
            (
                4_102_444_800,
                "2100-01-01 00 January Jan Friday Fri 00:00:00 12 AM 001 1  1 %",
            ),
        ] {
            assert_eq!(
                strftime(all, UNIX_EPOCH + Duration::from_secs(seconds)),
                expected
            );
        }
    }
}
