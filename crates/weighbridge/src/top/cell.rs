//! Values as texts that fit into their field.

use std::fmt::Write as _;

/// What stands for a number that does not fit, or is not known.
const UNKNOWN: &str = "*";

/// A text from outside, such that a terminal shows it and does nothing else: control characters
/// and those that turn the direction of writing become escapes.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmless(character) {
            out.push(character);
        } else {
            let _ = write!(out, "{}", character.escape_unicode());
        }
    }
    out
}

fn is_harmless(character: char) -> bool {
    !(character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        ))
}

/// The first of `texts` that is no wider than `width`.
fn fitting<const N: usize>(texts: [String; N], width: usize) -> String {
    let mut texts = texts.into_iter();
    let fits = texts.find(|text| text.len() <= width);
    fits.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// A number, in full or in steps of `step` with K, M, G, T.
fn scaled(number: u64, step: u64, width: usize) -> String {
    let mut left = number;
    let mut unit = |name: &str| {
        left /= step;
        format!("{left}{name}")
    };
    let texts = [unit("K"), unit("M"), unit("G"), unit("T")];
    let [k, m, g, t] = texts;
    fitting([number.to_string(), k, m, g, t], width)
}

/// Packets or bytes.
#[must_use]
pub fn size(number: u64, width: usize) -> String {
    scaled(number, 1024, width)
}

/// Bits in a second.
#[must_use]
pub fn bandwidth(bits: u64, width: usize) -> String {
    scaled(bits, 1000, width)
}

/// Bytes in a second, if they are known.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is too large becomes the largest number, a negative one zero"
)]
pub fn rate(each_second: Option<f64>, width: usize) -> String {
    each_second.map_or_else(|| UNKNOWN.to_owned(), |rate| size(rate as u64, width))
}

/// A plain number.
#[must_use]
pub fn number(number: u64, width: usize) -> String {
    fitting([number.to_string()], width)
}

/// `hh:mm:ss`; where that does not fit seconds, minutes, hours, days.
#[must_use]
pub fn age(seconds: u64, width: usize) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    fitting(
        [
            format!("{hours:02}:{:02}:{:02}", minutes % 60, seconds % 60),
            seconds.to_string(),
            format!("{minutes}m"),
            format!("{hours}h"),
            format!("{}d", hours / 24),
        ],
        width,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_commands_the_terminal() {
        assert_eq!(plain("em0 web-1 Büro 網"), "em0 web-1 Büro 網");
        assert_eq!(plain("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(
            plain("a\nb\r\t\u{7f}\u{9b}"),
            "a\\u{a}b\\u{d}\\u{9}\\u{7f}\\u{9b}"
        );
        assert_eq!(plain("\u{202e}gpj"), "\\u{202e}gpj");
        for code in (0..0x20).chain(0x7f..0xa0) {
            let character = char::from_u32(code).expect("a character");
            assert!(plain(&character.to_string()).starts_with("\\u{"), "{code}");
        }
    }

    #[test]
    fn numbers_are_shortened_as_pftop_does() {
        assert_eq!(size(99_999, 5), "99999");
        assert_eq!(size(123_456, 5), "120K");
        assert_eq!(size(12_345_678_901, 5), "11G");
        assert_eq!(size(u64::MAX, 4), "*");
        assert_eq!(bandwidth(10_000_000, 4), "10M");
        assert_eq!(number(12345, 4), "*");
        assert_eq!(rate(None, 5), "*");
        assert_eq!(rate(Some(1500.7), 5), "1500");
    }

    #[test]
    fn ages_are_shortened_as_pftop_does() {
        assert_eq!(age(3_725, 9), "01:02:05");
        assert_eq!(age(3_725, 5), "3725");
        assert_eq!(age(86_400 * 3, 5), "4320m");
        assert_eq!(age(86_400 * 3, 3), "72h");
        assert_eq!(age(86_400 * 300, 4), "300d");
        assert_eq!(age(86_400 * 300, 1), "*");
    }
}
