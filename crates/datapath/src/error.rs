//! What can go wrong, with what to do about it.

use std::io;

/// What went wrong with the data path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused something.
    #[error("{what}: {source}\n  hint: {hint}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The kernel is older than the data path can use.
    #[error(
        "Linux {found} is too old\n  hint: the data path needs Linux {needed} or newer: BPF \
         redirection to a neighbour"
    )]
    KernelTooOld {
        /// Version that runs.
        found: String,
        /// Oldest version that will do.
        needed: &'static str,
    },
    /// A file names interfaces that do not exist.
    #[error("{names}: no such interface\n  hint: `ip link` lists the interfaces of this machine")]
    NoInterface {
        /// The names, each with the file that named it.
        names: String,
    },
    /// The configuration contradicts itself or what the machine has.
    #[error("{what}\n  hint: {hint}")]
    Conflict {
        /// What contradicts what.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Queues that the kernel cannot do.
    #[error("{place}: {what}\n  hint: {hint}")]
    Queue {
        /// Where they were written, as `file:line`.
        place: String,
        /// What is wrong with them.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The process may not do what the data path needs.
    #[error("not permitted: {missing} is missing\n  hint: run as root")]
    Privileges {
        /// Names of the missing capabilities.
        missing: String,
    },
    /// A packet cannot be put back: its frame's addresses are missing or no unicast ones.
    #[error("a packet cannot be put back without a frame's unicast addresses")]
    NoFrameAddresses,
}

impl Error {
    pub(crate) fn kernel(
        what: impl Into<String>,
        source: impl Into<io::Error>,
        hint: &'static str,
    ) -> Self {
        Self::Kernel {
            what: what.into(),
            source: source.into(),
            hint,
        }
    }
}
