//! Whom the process is when it has opened what it needs.

use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::unistd::{User, setgid, setgroups, setuid};

/// The account called `name`.
pub(super) fn find(name: &str) -> Result<User, String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!(
            "no user \"{name}\" on this machine: `useradd --system {name}` makes one"
        )),
        Err(error) => Err(format!("user \"{name}\": {error}")),
    }
}

/// What the user will write to is the user's.
pub(super) fn give(directory: &Path, user: &User) -> io::Result<()> {
    chown(directory, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
}

/// Becomes `user`, if one is named, and gives up every capability, for good.
pub(super) fn become_harmless(user: Option<&User>) -> Result<(), String> {
    if let Some(user) = user {
        setgroups(&[user.gid])
            .and_then(|()| setgid(user.gid))
            .and_then(|()| setuid(user.uid))
            .map_err(|error| format!("cannot become {}: {error}", user.name))?;
    }
    datapath::drop_all_capabilities().map_err(|error| error.to_string())
}
