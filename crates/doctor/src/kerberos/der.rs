//! As much of DER as Kerberos' messages need.

use crate::limits::MAX_DER_ELEMENTS;

/// Tag of an INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// Tag of an OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// Tag of a `GeneralizedTime`.
pub(crate) const TIME: u8 = 0x18;
/// Tag of a `GeneralString`.
pub(crate) const STRING: u8 = 0x1b;
/// Tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;

/// Tag of the message `number`: `[APPLICATION number]`.
pub(crate) const fn application(number: u8) -> u8 {
    0x60 | number
}

/// Tag of the field `number`: `[number]`.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// A value with its tag and length.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let len = content.len();
    if let Ok(short @ 0..=0x7f) = u8::try_from(len) {
        bytes.push(short);
    } else {
        let long = len.to_be_bytes();
        let digits: Vec<u8> = long.iter().copied().skip_while(|byte| *byte == 0).collect();
        bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
        bytes.extend(digits);
    }
    bytes.extend(content);
    bytes
}

/// A SEQUENCE of these.
pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

/// An INTEGER.
pub(crate) fn integer(number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    // The shortest that keeps the sign.
    let spare = bytes
        .windows(2)
        .take_while(|pair| {
            matches!(pair, [0, next] if *next < 0x80)
                || matches!(pair, [0xff, next] if *next >= 0x80)
        })
        .count();
    value(INTEGER, bytes.get(spare..).unwrap_or_default())
}

/// Cuts the first value off `bytes`: its tag, its content, what is behind. Lengths of more than
/// four bytes, the indefinite one and tags of more than a byte are no DER of Kerberos.
pub(crate) fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, len], rest) = bytes.split_first_chunk()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (len, rest) = match len {
        0..=0x7f => (usize::from(len), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(len & 0x7f))?;
            let fold = |len: usize, digit: &u8| len << 8 | usize::from(*digit);
            (digits.iter().fold(0, fold), rest)
        }
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(len)?;
    Some((tag, content, behind))
}

/// The content of the one value in `bytes`, which has the tag.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let (found, content, _) = split(bytes)?;
    (found == tag).then_some(content)
}

/// The values in `bytes`, one behind another, up to the first that is none.
pub(crate) fn each(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (tag, content, behind) = split(rest)?;
        rest = behind;
        Some((tag, content))
    })
    .take(MAX_DER_ELEMENTS)
}

/// The content of the field `number` of a SEQUENCE's content.
pub(crate) fn field(content: &[u8], number: u8) -> Option<&[u8]> {
    each(content)
        .find(|(tag, _)| *tag == context(number))
        .map(|(_, field)| field)
}

/// The number of a field that is an INTEGER.
pub(crate) fn number(content: &[u8], field_number: u8) -> Option<i64> {
    let bytes = only(field(content, field_number)?, INTEGER)?;
    let (first, rest) = bytes.split_first().filter(|_| bytes.len() <= 8)?;
    let start = i64::from(first.cast_signed());
    Some(
        rest.iter()
            .fold(start, |number, byte| number << 8 | i64::from(*byte)),
    )
}

/// The text of a field that is a `GeneralString`.
pub(crate) fn text(content: &[u8], field_number: u8) -> Option<String> {
    let bytes = only(field(content, field_number)?, STRING)?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// The time of a field that is a `GeneralizedTime`, `YYYYMMDDHHMMSSZ`, in seconds since 1970.
pub(crate) fn time(content: &[u8], field_number: u8) -> Option<i64> {
    let text = std::str::from_utf8(only(field(content, field_number)?, TIME)?).ok()?;
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 in the Gregorian calendar: years begin in March, so that a leap day is
/// a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let before_month = (153 * month + 2) / 5;
    365 * year + leap_days + before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_as_short_as_der_wants_and_read_back() {
        for (value, bytes) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (-1, &[2, 1, 255]),
            (-129, &[2, 2, 255, 127]),
        ] {
            assert_eq!(integer(value), bytes);
            let field = super::value(context(3), &integer(value));
            assert_eq!(number(&field, 3), Some(value));
        }
    }

    #[test]
    fn lengths_of_several_bytes_are_written_and_read() {
        for len in [0, 127, 128, 255, 256, 70_000] {
            let content = vec![7; len];
            let bytes = value(OCTET_STRING, &content);
            assert_eq!(
                split(&bytes),
                Some((OCTET_STRING, content.as_slice(), &[][..]))
            );
        }
        assert_eq!(split(&[4, 0x80, 0, 0]), None);
        assert_eq!(split(&[4, 5, 0]), None);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let read = |text: &str| time(&value(context(4), &value(TIME, text.as_bytes())), 4);
        assert_eq!(read("19700101000000Z"), Some(0));
        assert_eq!(read("20000229120000Z"), Some(951_825_600));
        assert_eq!(read("20261128025424Z"), Some(1_795_834_464));
        assert_eq!(read("20261328025424Z"), None);
        assert_eq!(read("2026112802542Z"), None);
        assert_eq!(read("+9991128025424Z"), None);
    }
}
