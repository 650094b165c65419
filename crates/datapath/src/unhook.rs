//! Taking off hooks that no daemon stands behind.

use std::io;

use crate::left::{self, Found};
use crate::netlink;
use crate::netlink::connection::Connection;
use crate::netlink::link::{self, Link};
use crate::{Error, check_privileges};

/// What [`unhook`] did, by interface name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unhooked {
    /// Interfaces that are free now: packets pass there unfiltered.
    pub freed: Vec<String>,
    /// Interfaces that a living daemon filters, with the name of its TAP; they were left alone.
    pub filtered: Vec<(String, String)>,
}

/// Takes off the hooks that dead daemons have left on the interfaces called `names`, on all
/// interfaces of this network namespace if there are none.
///
/// # Errors
/// When an interface does not exist or the kernel refuses.
pub fn unhook(names: &[String]) -> Result<Unhooked, Error> {
    check_privileges()?;
    let connection = netlink::connect()?;
    let mut unhooked = Unhooked::default();
    for link in chosen(&connection, names)? {
        let (alive, dead) = hooks_of(&connection, &link)?;
        if let Some(hook) = alive.into_iter().next() {
            let filtered = (link.name.clone(), hook.owner.tap_name);
            unhooked.filtered.push(filtered);
        }
        if !dead.is_empty() {
            remove(&connection, &link.name, dead)?;
            unhooked.freed.push(link.name);
        }
    }
    Ok(unhooked)
}

fn chosen(connection: &Connection, names: &[String]) -> Result<Vec<Link>, Error> {
    let links = link::list(connection).map_err(|error| {
        let hint = "rtnetlink must be reachable (AF_NETLINK)";
        Error::kernel("cannot list the interfaces", error, hint)
    })?;
    if let Some(name) = names.iter().find(|n| !links.iter().any(|l| l.name == **n)) {
        return Err(Error::NoInterface {
            names: name.clone(),
        });
    }
    let wanted = |link: &Link| names.is_empty() || names.contains(&link.name);
    Ok(links.into_iter().filter(wanted).collect())
}

/// What dead daemons have left on an interface.
///
/// # Errors
/// When a living one filters it.
pub(crate) fn left_on(connection: &Connection, link: &Link) -> Result<Vec<Found>, Error> {
    // Once it has given up its rights a daemon cannot look; an interface that comes back after
    // that is a new one and has nothing.
    let (alive, dead) = match hooks_of(connection, link) {
        Err(Error::Kernel { source, .. }) if is_not_permitted(&source) => return Ok(Vec::new()),
        other => other?,
    };
    match alive.first() {
        None => Ok(dead),
        Some(hook) => Err(Error::Conflict {
            what: format!(
                "{} is filtered by another weighbridge (TAP {})",
                link.name, hook.owner.tap_name
            ),
            hint: "stop that one, or leave the interface out",
        }),
    }
}

fn is_not_permitted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Hooks of living and of dead daemons.
fn hooks_of(connection: &Connection, link: &Link) -> Result<(Vec<Found>, Vec<Found>), Error> {
    let found = left::find(connection, link.index, &link.name).map_err(|error| {
        Error::kernel(
            format!("cannot look for hooks on {}", link.name),
            error,
            "run as root",
        )
    })?;
    Ok(found
        .into_iter()
        .partition(|hook| hook.owner.is_alive(connection)))
}

/// Takes off what was found.
pub(crate) fn remove(connection: &Connection, name: &str, left: Vec<Found>) -> Result<(), Error> {
    for hook in left {
        hook.remove(connection).map_err(|error| {
            Error::kernel(
                format!("cannot take an old hook off {name}"),
                error,
                "run as root",
            )
        })?;
    }
    Ok(())
}

/// Takes off what dead daemons with a TAP of this name left, but not where `is_ours`.
pub(crate) fn clean_up(
    connection: &Connection,
    tap: &str,
    is_ours: impl Fn(u32) -> bool,
) -> Result<Vec<String>, Error> {
    let mut freed = Vec::new();
    for link in chosen(connection, &[])? {
        if is_ours(link.index) {
            continue;
        }
        let mut dead = match hooks_of(connection, &link) {
            // Somebody else's programs, which we may not look at.
            Err(Error::Kernel { source, .. }) if is_not_permitted(&source) => Vec::new(),
            other => other?.1,
        };
        dead.retain(|hook| hook.owner.tap_name == tap);
        if !dead.is_empty() {
            remove(connection, &link.name, dead)?;
            freed.push(link.name);
        }
    }
    Ok(freed)
}
