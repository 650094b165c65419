//! What a command says: text on standard output, messages on standard error.

use std::io::{self, IsTerminal, Write};

/// Where a command writes. Tests put in buffers.
pub struct Output<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// Whether errors are drawn for people (source line, caret) and in colour.
    pub rich_errors: bool,
}

impl Output<'_> {
    /// Writes `text` to standard output as it is.
    ///
    /// # Errors
    /// What the system said; a reader that went away is `BrokenPipe`.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Writes one line to standard error. A standard error that is closed loses it: there is
    /// nowhere left to complain.
    pub fn message(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("rich_errors", &self.rich_errors)
            .finish_non_exhaustive()
    }
}

/// Runs `command` with the process's own output. `plain` keeps errors on one line each even on
/// a terminal.
pub fn with_process_output<T>(plain: bool, command: impl FnOnce(&mut Output<'_>) -> T) -> T {
    let rich_errors = !plain && io::stderr().is_terminal();
    let mut out = io::stdout().lock();
    let mut err = io::stderr().lock();
    let result = command(&mut Output {
        out: &mut out,
        err: &mut err,
        rich_errors,
    });
    let _ = out.flush();
    result
}
