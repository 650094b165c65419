//! Where the keeper of devices publishes how they stand.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use links::WantedVlan;
use links::plan::{Kind, Snapshot};
use links::status::Status;

use crate::config::read_text;
use crate::files;
use crate::text::reason;

/// Where it is unless the environment says something else.
const DEFAULT_PATH: &str = "/run/weighbridge/links.json";
/// The variable that says it.
const VARIABLE: &str = "WEIGHBRIDGE_LINKS";
/// A status that is older is a dead keeper's.
pub(crate) const STALE_SECS: f64 = 5.0;

/// Where the status is.
pub(crate) fn status_path() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| DEFAULT_PATH.into(), PathBuf::from)
}

/// The status of a keeper that lives; nothing where there is none.
pub(crate) fn read_status() -> Option<Status> {
    let status = read_last().ok().flatten()?;
    (is_running(&status) && unix_now() - status.time < STALE_SECS).then_some(status)
}

/// Whether the process whose status it is runs: a dead one that its parent has not asked for does not.
pub(crate) fn is_running(status: &Status) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", status.pid)).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !['Z', 'X'].contains(&state))
}

/// The last status, of whoever; nothing where there is none.
///
/// # Errors
/// Why what is there cannot be read.
pub(crate) fn read_last() -> Result<Option<Status>, String> {
    let path = status_path();
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {}", path.display(), reason(&error))),
    };
    Status::parse(&text)
        .map(Some)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes the status for everybody to read; a reader sees the old one or the new one.
pub(super) fn write_status(status: &Status) -> io::Result<()> {
    let path = status_path();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let text = serde_json::to_string_pretty(status)?;
    files::replace(&path, text.as_bytes(), Some(0o644))
}

/// Removes it, at the end.
pub(super) fn remove_status() {
    let _ = fs::remove_file(status_path());
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file that other processes read"
)]
pub(crate) fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

/// Tells a snapshot what our own devices in it are.
pub(super) fn overlay(snapshot: &mut Snapshot, status: Option<&Status>) {
    let Some(status) = status else { return };
    for link in &mut snapshot.links {
        if let Some(lagg) = status.laggs.iter().find(|lagg| lagg.name == link.name) {
            link.kind = Kind::Lagg(lagg.settings());
        }
        if let Some(vlan) = status.vlans.iter().find(|vlan| vlan.name == link.name) {
            link.kind = Kind::Vlan(WantedVlan {
                parent: vlan.parent.clone(),
                id: vlan.id,
                priority: vlan.priority,
            });
        }
    }
}
