//! What the kernel says of a program that it does not take.

use std::fmt::Write;
use std::io;

use aya::programs::ProgramError;

use crate::program::io_error;

/// Lines of the verifier's log that are told: the last ones say what is wrong, and where. All of it
/// may be megabytes.
const LINES_TOLD: usize = 12;
/// Characters of each: a line that tells all registers has no other end.
const LINE_LEN: usize = 160;

/// Why the kernel does not take a program, with the verifier's last words if it had any.
pub(crate) fn refused(error: ProgramError) -> io::Error {
    // The kernel's error stands for itself: it is not among its causes.
    if let ProgramError::IOError(error) = error {
        return error;
    }
    let ProgramError::LoadError {
        io_error: source,
        verifier_log,
    } = error
    else {
        return io_error(error);
    };
    let words = last_words(&verifier_log.to_string());
    if words.is_empty() {
        return source;
    }
    io::Error::new(source.kind(), format!("{source}; the verifier:{words}"))
}

/// The last lines of a log, each on a line of its own; nothing of a log in which there is nothing.
fn last_words(log: &str) -> String {
    let lines = log.lines().map(str::trim_end);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let hidden = lines.len().saturating_sub(LINES_TOLD);
    let mut words = String::new();
    if hidden > 0 {
        let _ = write!(words, "\n    ({hidden} lines before)");
    }
    for line in lines.iter().skip(hidden) {
        let told: String = line.chars().take(LINE_LEN).collect();
        let cut = if told.len() < line.len() { "…" } else { "" };
        let _ = write!(words, "\n    {told}{cut}");
    }
    words
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_last_lines_of_a_long_log_are_told_and_how_many_there_are_before() {
        let log: String = (1..=40).fold(String::new(), |log, line| format!("{log}{line}: exit\n"));
        let words = last_words(&log);
        assert!(words.starts_with("\n    (28 lines before)\n    29: exit\n"));
        assert!(words.ends_with("\n    40: exit"), "{words}");
        assert_eq!(words.lines().count(), 1 + 1 + LINES_TOLD);
    }

    #[test]
    fn a_short_log_is_told_whole_and_of_none_there_is_nothing() {
        let log = "0: (79) r0 = *(u64 *)(r9 +0)\n\nR9 !read_ok  \n";
        let told = "\n    0: (79) r0 = *(u64 *)(r9 +0)\n    R9 !read_ok";
        assert_eq!(last_words(log), told);
        assert_eq!(last_words("\n \n"), "");
    }

    #[test]
    fn a_line_without_an_end_is_cut_between_characters() {
        let words = last_words(&"ä".repeat(10_000));
        assert_eq!(words.trim().chars().count(), LINE_LEN + 1);
        assert!(words.ends_with("ä…"));
    }

    #[test]
    fn what_was_not_refused_by_the_verifier_is_what_the_kernel_said() {
        let error = ProgramError::IOError(Errno::PERM.into());
        let said = refused(error);
        assert_eq!(said.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    }
}
