//! What a dead keeper leaves for a moment: the kernel takes its devices away behind it.

use std::time::Duration;

use datapath::netlink::Netlink;
use links::plan::{Kind, Snapshot};
use links::status::Status;

use super::command::told;
use super::hooks::pause;
use super::state::{is_running, read_last};
use crate::output::Output;
use crate::tools::Complaint;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Looks at most: five seconds. It takes milliseconds, more on a busy machine; what is there
/// after that is not on its way, and the plan says what is wrong with it.
const LOOKS: u32 = 500;

/// Waits until the devices of the keeper before this one are gone, if it is dead.
///
/// # Errors
/// When the kernel does not tell its devices.
pub(super) fn wait_until_gone(
    netlink: &mut Netlink,
    output: &mut Output<'_>,
) -> Result<(), Complaint> {
    let Some(dead) = read_last().ok().flatten().filter(|last| !is_running(last)) else {
        return Ok(());
    };
    for look in 0..LOOKS {
        let left = remains(&dead, &netlink.machine().map_err(told)?.snapshot());
        if left.is_empty() {
            break;
        }
        if look == 0 {
            let names = left.join(", ");
            output.message(&format!(
                "waits for the kernel to take {names} of process {}, which is dead, away",
                dead.pid
            ));
        }
        pause(LOOK);
    }
    Ok(())
}

/// Devices that the dead keeper was, and that are no others by now.
fn remains(dead: &Status, snapshot: &Snapshot) -> Vec<String> {
    let laggs = dead.laggs.iter().map(|lagg| &lagg.name);
    let names = laggs.chain(dead.vlans.iter().map(|vlan| &vlan.name));
    let is_there = |name: &&String| {
        let mut links = snapshot.links.iter();
        links.any(|link| link.name == **name && link.kind == Kind::Other)
    };
    names.filter(is_there).cloned().collect()
}

#[cfg(test)]
mod tests {
    use links::plan::Present;
    use links::status::{LaggStatus, VlanStatus};

    use super::*;

    #[test]
    fn devices_of_the_dead_keeper_are_waited_for_and_others_are_not() {
        let dead = Status {
            laggs: vec![LaggStatus {
                name: "lagg0".into(),
                ..LaggStatus::default()
            }],
            vlans: ["vlan5", "vlan6"]
                .map(|name| VlanStatus {
                    name: name.into(),
                    parent: "lagg0".into(),
                    id: 5,
                    priority: 0,
                    shut: false,
                })
                .to_vec(),
            ..Status::default()
        };
        let link = |name: &str, kind| Present {
            name: name.into(),
            kind,
            ..Present::default()
        };
        let snapshot = Snapshot {
            links: vec![
                link("em0", Kind::Other),
                link("lagg0", Kind::Other),
                link("vlan5", Kind::Bridge),
            ],
            ..Snapshot::default()
        };
        assert_eq!(remains(&dead, &snapshot), ["lagg0"]);
    }
}
