//! Capabilities: what the process may do, and giving up the rest.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use rustix::thread::set_no_new_privs;

use crate::Error;

/// What a running daemon keeps: links and hooks, raw sockets, BPF, and the verifier's good will.
const KEPT: [Capability; 4] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
];

/// What a daemon keeps that starts `weighbridge links run` again: with it that program, which gets no
/// more than its starter has, puts itself before others (`setpriority(2)`), as the first one did.
const KEPT_BY_STARTER: [Capability; 5] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_NICE,
];

/// What opening the data path cannot do without.
const NEEDED: [Capability; 3] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_BPF,
];

/// Whether the process may open a data path.
///
/// # Errors
/// [`Error::Privileges`], which names what is missing.
pub fn check_privileges() -> Result<(), Error> {
    let effective = caps::read(None, CapSet::Effective).map_err(unreadable)?;
    let missing: Vec<String> = NEEDED
        .into_iter()
        .filter(|capability| !effective.contains(capability))
        .map(|capability| capability.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Privileges {
        missing: missing.join(", "),
    })
}

/// Gives up every capability but the few that a running daemon needs, for good: neither this
/// thread nor a program that it starts can get one back. To be called before other threads
/// start, which would keep theirs.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_capabilities() -> Result<(), Error> {
    keep_only(&KEPT)
}

/// The same, but what it starts may give itself priority over other programs, if this process may.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_capabilities_of_starter() -> Result<(), Error> {
    keep_only(&KEPT_BY_STARTER)
}

/// The same, of all of them: for who has opened what it needs.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_all_capabilities() -> Result<(), Error> {
    keep_only(&[])
}

fn keep_only(kept: &[Capability]) -> Result<(), Error> {
    let permitted = caps::read(None, CapSet::Permitted).map_err(unreadable)?;
    let kept: CapsHashSet = kept
        .iter()
        .copied()
        .filter(|capability| permitted.contains(capability))
        .collect();
    set_no_new_privs(true).map_err(|error| refused("no_new_privs", error.into()))?;
    shrink_bounding_set(&permitted, &kept)?;
    caps::clear(None, CapSet::Ambient).map_err(|error| refused("ambient", other(error)))?;
    let sets = [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted];
    for (set, value) in sets.into_iter().zip([&CapsHashSet::new(), &kept, &kept]) {
        caps::set(None, set, value).map_err(|error| refused("capset", other(error)))?;
    }
    Ok(())
}

/// Only a process with `CAP_SETPCAP` can do that; any other has no need.
fn shrink_bounding_set(permitted: &CapsHashSet, kept: &CapsHashSet) -> Result<(), Error> {
    if !permitted.contains(&Capability::CAP_SETPCAP) {
        return Ok(());
    }
    let bounding = caps::read(None, CapSet::Bounding).map_err(unreadable)?;
    for capability in bounding.difference(kept) {
        caps::drop(None, CapSet::Bounding, *capability)
            .map_err(|error| refused("bounding set", other(error)))?;
    }
    Ok(())
}

fn unreadable(error: caps::errors::CapsError) -> Error {
    Error::kernel(
        "cannot read this process's capabilities",
        other(error),
        "a sandbox seems to forbid capget(2)",
    )
}

fn refused(what: &str, source: io::Error) -> Error {
    Error::kernel(
        format!("cannot give up capabilities ({what})"),
        source,
        "a sandbox seems to forbid capset(2) or prctl(2)",
    )
}

fn other(error: caps::errors::CapsError) -> io::Error {
    io::Error::other(error)
}
