//! What the lab needs of the machine: root and three tools.

use std::path::Path;

use crate::command::Tool;

/// What is missing on this machine, one sentence each; empty when a lab can be built.
#[must_use]
pub fn missing() -> Vec<String> {
    let root = (!rustix::process::geteuid().is_root())
        .then(|| "the lab makes network namespaces and must be run as root".to_owned());
    let tools = Tool::ALL
        .into_iter()
        .filter(|tool| !is_installed(tool.program()))
        .map(|tool| {
            format!(
                "`{}` is missing: apt-get install {}",
                tool.program(),
                tool.package()
            )
        });
    root.into_iter().chain(tools).collect()
}

/// For a test: true, and a line on standard error, when this machine cannot run a lab.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn skip_test(name: &str) -> bool {
    let missing = missing();
    if !missing.is_empty() {
        eprintln!("skipped {name}: {}", missing.join("; "));
    }
    !missing.is_empty()
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|directory| Path::new(directory).join(program).is_file())
}
