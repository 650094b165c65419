//! The message in an error log.

use crate::finding::shorten;
use crate::limits::{MAX_LOG_KINDS, MAX_LOG_LINE_LEN};

/// The words that httpd has written since 2.0.
const MESSAGE: &str = "connect to listener on ";

/// Which httpd wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Up to 2.2: without a number.
    Numberless,
    /// From 2.4: with `AH00056`.
    Numbered,
}

/// The messages with one error about one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The listener: `0.0.0.0:80`.
    pub listener: String,
    /// Number of the system's error, where the log has it.
    pub errno: Option<u32>,
    /// The system's words for it.
    pub reason: String,
    /// Which httpd wrote it.
    pub form: Form,
    /// How many there are.
    pub count: u64,
    /// Number of the last line, from 1.
    pub line: u32,
    /// The last line, shortened.
    pub text: String,
}

impl Complaint {
    /// Whether the number is one that only the BSDs (and macOS) give this error: their refused
    /// connection is 61, Linux' is 111.
    #[must_use]
    pub fn is_from_bsd(&self) -> bool {
        matches!(self.errno, Some(49 | 51 | 61 | 65))
    }
}

/// What an error log says of listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Complaints in the order of their first lines.
    pub complaints: Vec<Complaint>,
    /// Lines that were read.
    pub lines: u32,
    /// Messages of more kinds than are kept ([`MAX_LOG_KINDS`]).
    pub uncounted: u64,
}

impl Log {
    /// Reads a log.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut log = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            log.lines = log.lines.saturating_add(1);
            let line = line.get(..MAX_LOG_LINE_LEN).unwrap_or(line);
            if let Some(complaint) = parse(&String::from_utf8_lossy(line), log.lines) {
                log.add(complaint);
            }
        }
        log
    }

    fn add(&mut self, new: Complaint) {
        let same = |old: &&mut Complaint| {
            (&old.listener, old.errno, &old.reason) == (&new.listener, new.errno, &new.reason)
        };
        if let Some(old) = self.complaints.iter_mut().find(same) {
            *old = Complaint {
                count: old.count + 1,
                ..new
            };
        } else if self.complaints.len() < MAX_LOG_KINDS {
            self.complaints.push(new);
        } else {
            self.uncounted += 1;
        }
    }
}

/// `[…] (61)Connection refused: connect to listener on 0.0.0.0:80`, and with `AH00056: `.
fn parse(line: &str, number: u32) -> Option<Complaint> {
    let (before, listener) = line.split_once(MESSAGE)?;
    let listener = listener.split_whitespace().next()?;
    let (_, port) = listener.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let before = before.trim_end().strip_suffix(':').unwrap_or(before);
    let (form, before) = match before.strip_suffix("AH00056") {
        Some(before) => (Form::Numbered, before.trim_end().trim_end_matches(':')),
        None => (Form::Numberless, before),
    };
    let before = before
        .rsplit_once("] ")
        .map_or(before, |(_, text)| text)
        .trim();
    let (errno, reason) = errno(before);
    Some(Complaint {
        listener: shorten(listener),
        errno,
        reason: shorten(reason),
        form,
        count: 1,
        line: number,
        text: shorten(line),
    })
}

/// `(61)Connection refused`.
fn errno(text: &str) -> (Option<u32>, &str) {
    let parsed = text.strip_prefix('(').and_then(|rest| {
        let (number, reason) = rest.split_once(')')?;
        Some((number.parse().ok()?, reason))
    });
    parsed.map_or((None, text), |(number, reason)| (Some(number), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_articles_lines_and_those_of_later_versions_are_recognised() {
        let log = Log::read(
            b"     (61)Connection refused: connect to listener on 0.0.0.0:80\n\
              [Mon Feb 12 22:08:00 2007] [warn] (61)Connection refused: connect to listener on 0.0.0.0:80\n\
              [Mon Feb 12 22:08:00 2007] [notice] Apache/2.2.4 (FreeBSD) configured\n\
              [Sat Nov 28 02:57:46.96 2026] [mpm_prefork:warn] [pid 7] (101)Network is unreachable: AH00056: connect to listener on 0.0.0.0:80\n\
              [x] [y] Address not available: AH00056: connect to listener on [::]:80\n",
        );
        let seen: Vec<_> = log
            .complaints
            .iter()
            .map(|c| {
                (
                    c.listener.as_str(),
                    c.errno,
                    c.reason.as_str(),
                    c.form,
                    c.count,
                    c.line,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (
                    "0.0.0.0:80",
                    Some(61),
                    "Connection refused",
                    Form::Numberless,
                    2,
                    2
                ),
                (
                    "0.0.0.0:80",
                    Some(101),
                    "Network is unreachable",
                    Form::Numbered,
                    1,
                    4
                ),
                (
                    "[::]:80",
                    None,
                    "Address not available",
                    Form::Numbered,
                    1,
                    5
                ),
            ]
        );
        assert!(log.complaints[0].is_from_bsd() && !log.complaints[1].is_from_bsd());
    }

    #[test]
    fn requests_that_carry_the_words_make_no_complaint_and_kinds_are_bounded() {
        assert!(
            Log::read(b"client sent: connect to listener on nothing")
                .complaints
                .is_empty()
        );
        let many: String = (0..1000).fold(String::new(), |text, n| {
            text + &format!("({n})x: connect to listener on 0.0.0.0:80\n")
        });
        let log = Log::read(many.as_bytes());
        assert_eq!((log.complaints.len(), log.uncounted), (100, 900));
    }
}
