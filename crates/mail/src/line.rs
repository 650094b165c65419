//! Lines out of a byte stream, bounded.

/// Bytes of one line that are kept.
pub const LINE_MAX: usize = 2048;

/// A line was longer than [`LINE_MAX`]: no protocol here has such lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Collects lines.
#[derive(Debug, Default)]
pub struct Lines {
    unfinished: Vec<u8>,
    /// The rest of a line that was too long is still to come.
    too_long: bool,
}

impl Lines {
    /// Takes `bytes` and hands each whole line, without its end (`\n` or `\r\n`), to `take`, which
    /// says whether to go on. What is not UTF-8 in it is replaced.
    ///
    /// # Errors
    /// When a line is too long; what came of it is forgotten.
    pub fn input(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&str) -> bool,
    ) -> Result<(), TooLong> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.unfinished.len().saturating_add(piece.len()) > LINE_MAX {
                self.unfinished.clear();
                return Err(TooLong);
            }
            self.unfinished.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.unfinished);
                if !take(text(&line).as_ref()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The same where clients choose how long a line is: one that is too long is passed over whole.
    pub fn input_bounded(&mut self, bytes: &[u8], mut take: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.ends_with(b"\n");
            if self.too_long || self.unfinished.len().saturating_add(piece.len()) > LINE_MAX {
                self.unfinished.clear();
                self.too_long = !whole;
                continue;
            }
            self.unfinished.extend_from_slice(piece);
            if whole {
                take(text(&std::mem::take(&mut self.unfinished)).as_ref());
            }
        }
    }

    /// What came of a line whose end did not.
    pub fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.unfinished);
        (!line.is_empty()).then(|| text(&line).into_owned())
    }
}

fn text(line: &[u8]) -> std::borrow::Cow<'_, str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for piece in [b"one\r\ntw".as_slice(), b"o\n\nthr"] {
            let taken = lines.input(piece, |line| {
                got.push(line.to_owned());
                true
            });
            assert_eq!(taken, Ok(()));
        }
        assert_eq!(got, ["one", "two", ""]);
        assert_eq!(lines.rest().as_deref(), Some("thr"));
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut lines = Lines::default();
        assert_eq!(lines.input(&[b'x'; LINE_MAX], |_| true), Ok(()));
        assert_eq!(lines.input(b"x", |_| true), Err(TooLong));
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn a_line_that_is_too_long_can_be_passed_over_whole() {
        let long = "x".repeat(LINE_MAX);
        let input = format!("one\n{long}{long}{long}\ntwo\n{long}\nthree\n");
        for size in [1, 7, LINE_MAX - 1, input.len()] {
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            for piece in input.as_bytes().chunks(size) {
                lines.input_bounded(piece, |line| got.push(line.to_owned()));
                assert!(lines.unfinished.len() <= LINE_MAX);
            }
            assert_eq!(got, ["one", "two", "three"], "pieces of {size}");
        }
    }
}
