//! A client of the text socket: one line asked, one answered, within a second.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::text::reason;

/// The whole question, answer included; a test's own daemon may be held up.
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 1 });
/// Exit status of those who tell something that nobody takes, or may not tell it; 2 is a wrong command line.
pub const NOT_TOLD: u8 = 3;
/// Bytes of an answer.
const ANSWER_MAX: u64 = 16_384;

/// The answer to `question`, a line with its end.
///
/// # Errors
/// When nobody answers within [`PATIENCE`].
pub fn ask(socket: &Path, question: &str) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer within a second");
    runtime.block_on(async {
        let asked = timeout(PATIENCE, exchange(socket, question)).await;
        asked.map_err(late)?
    })
}

/// The error for an answer that `weighbridge watch` would not give.
#[must_use]
pub fn strange(answer: &str) -> io::Error {
    io::Error::other(format!(
        "not the text socket of weighbridge watch: {}",
        answer.escape_debug()
    ))
}

/// What a command says when it could not ask.
#[must_use]
pub fn complaint(command: &str, socket: &Path, error: &io::Error) -> String {
    let hint = if error.kind() == io::ErrorKind::PermissionDenied {
        "run it as root, or as a member of the socket's group: [text] of mail.toml says which, with \
         listen = { socket = \"PATH\", group = \"NAME\" }"
    } else {
        "`weighbridge watch -i INTERFACE` answers there"
    };
    format!(
        "weighbridge {command}: {}: {}\n  hint: {hint}",
        socket.display(),
        reason(error)
    )
}

async fn exchange(socket: &Path, question: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_ask_is_told_who_may() {
        let socket = Path::new("/run/weighbridge/os.sock");
        let told = |kind: io::ErrorKind| complaint("os", socket, &kind.into());
        let refused = told(io::ErrorKind::PermissionDenied);
        assert!(refused.contains("[text] of mail.toml"), "{refused}");
        assert!(!refused.contains("answers there"), "{refused}");
        let nobody = told(io::ErrorKind::NotFound);
        assert!(nobody.ends_with("answers there"), "{nobody}");
    }
}
