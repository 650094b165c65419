//! Spans and moments as PF prints them.

use std::time::Duration;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// `hh:mm:ss`, hours growing as they must.
#[must_use]
pub fn hours(span: Duration) -> String {
    let seconds = span.as_secs();
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `N days hh:mm:ss`.
#[must_use]
pub fn days(span: Duration) -> String {
    let seconds = span.as_secs();
    let rest = Duration::from_secs(seconds % SECONDS_PER_DAY);
    format!("{} days {}", seconds / SECONDS_PER_DAY, hours(rest))
}

/// A moment in the form of ctime(3), in UTC: `Sun Nov 23 08:05:00 2025`.
#[must_use]
pub fn date(unix_seconds: u64) -> String {
    let days = unix_seconds / SECONDS_PER_DAY;
    let (year, month, day) = civil(days);
    format!(
        "{} {} {day:2} {} {year}",
        DAYS[index(days % 7)],
        MONTHS[index(month)],
        hours(Duration::from_secs(unix_seconds % SECONDS_PER_DAY)),
    )
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// Year, month (from 0) and day of the month of a day counted from 1970-01-01, in the Gregorian
/// calendar. Years are walked by their lengths; nobody formats dates in a hurry.
pub(crate) fn civil(mut days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let mut year = 1970 + days / DAYS_IN_400_YEARS * 400;
    days %= DAYS_IN_400_YEARS;
    while days >= year_length(year) {
        days -= year_length(year);
        year += 1;
    }
    let mut month = 0;
    while days >= month_length(year, month) {
        days -= month_length(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn year_length(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn month_length(year: u64, month: u64) -> u64 {
    match month {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_ctime() {
        assert_eq!(date(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(date(951_782_399), "Mon Feb 28 23:59:59 2000");
        assert_eq!(date(951_782_400), "Tue Feb 29 00:00:00 2000");
        assert_eq!(date(1_763_885_100), "Sun Nov 23 08:05:00 2025");
        assert_eq!(date(4_102_444_800), "Fri Jan  1 00:00:00 2100");
    }

    #[test]
    fn spans_count_days_or_hours() {
        let span = Duration::from_secs(12 * 86_400 + 3 * 3600 + 14 * 60 + 7);
        assert_eq!(days(span), "12 days 03:14:07");
        assert_eq!(hours(span), "291:14:07");
        assert_eq!(hours(Duration::from_millis(1_999)), "00:00:01");
    }
}
