//! Runs `ip`, `tc`, `nft` and `ethtool`, and says what was run when one of them fails.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A system tool that the lab needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Links, addresses, routes, namespaces.
    Ip,
    /// Rates.
    Tc,
    /// The modems' NAT and the counters of hosts.
    Nft,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ip, Self::Tc, Self::Nft];

    /// The program's name.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Tc => "tc",
            Self::Nft => "nft",
        }
    }

    /// The Debian and Ubuntu package that has it.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Ip | Self::Tc => "iproute2",
            Self::Nft => "nftables",
        }
    }
}

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run `{command}`: {source}\n  hint: apt-get install {package}")]
    Missing {
        /// What was to be run.
        command: String,
        /// What the system said.
        source: io::Error,
        /// The package that has the tool.
        package: &'static str,
    },
    /// It failed.
    #[error("`{command}` failed: {stderr}")]
    Failed {
        /// What was run, with what it read from its standard input.
        command: String,
        /// What it said.
        stderr: String,
    },
}

/// Runs a tool with its words separated by blanks in `line`; returns its standard output.
pub fn run(tool: Tool, line: &str) -> Result<String, CommandError> {
    run_with_input(tool, line, "")
}

/// The same, and the tool reads `input`.
pub fn run_with_input(tool: Tool, line: &str, input: &str) -> Result<String, CommandError> {
    let command = format!("{} {line}", tool.program());
    let output = output_of(tool, line, input).map_err(|source| CommandError::Missing {
        command: command.clone(),
        source,
        package: tool.package(),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let fed = if input.is_empty() {
        String::new()
    } else {
        format!(" < {input:?}")
    };
    Err(CommandError::Failed {
        command: command + &fed,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Writes a program that is to be run, by a process of its own. While this one has a file open for
/// writing, so has a child that another thread starts at that moment, and the kernel runs no
/// program that somebody may write to.
pub fn write_program(path: &Path, text: &str) -> io::Result<()> {
    let mut shell = Command::new("sh");
    let script = "cat > \"$0\" && chmod 755 \"$0\"";
    let mut child = shell
        .args(["-c", script])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let status = child.wait()?;
    let failed = || io::Error::other(format!("{} was not written: {status}", path.display()));
    status.success().then_some(()).ok_or_else(failed)
}

/// The same, of a program that there is already.
pub fn copy_program(from: &Path, to: &Path) -> io::Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status()?;
    let failed = || io::Error::other(format!("{} was not copied: {status}", from.display()));
    status.success().then_some(()).ok_or_else(failed)
}

fn output_of(tool: Tool, line: &str, input: &str) -> io::Result<Output> {
    let mut child = Command::new(tool.program())
        .args(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that stops reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_tool_names_its_command_and_repeats_what_it_said() {
        let error = run(Tool::Ip, "link show dev no-such-link0")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`ip link show dev no-such-link0` failed"),
            "{error}"
        );
        assert!(error.contains("does not exist"), "{error}");
    }
}
