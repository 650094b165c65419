//! Whether the kernel makes laggs and VLANs: by asking it for one of each, in a network namespace that nobody
//! else is in and that goes with them.

use ::doctor::links::{DeviceKind, Trial};
use datapath::device::Device;
use datapath::netlink::{Applied, Netlink, Support, support};
use links::plan::{Maker, Step};
use links::{Protocol, WantedLagg, WantedVlan};
use nix::sched::{CloneFlags, unshare};

use crate::text::reason;

/// What the VLAN sits on.
const PARENT: &str = "trial0";
/// What is asked for.
const ASKED: &str = "trial1";
/// Of the device that the VLAN sits on: locally administered.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MTU: u32 = 1500;

/// Tries what may be tried.
pub(super) fn devices() -> Vec<DeviceKind> {
    let lagg = Step::MakeLagg {
        name: ASKED.to_owned(),
        lagg: WantedLagg {
            protocol: Protocol::Failover,
            ..WantedLagg::default()
        },
        maker: Maker::Kernel,
    };
    let vlan = Step::MakeVlan {
        name: ASKED.to_owned(),
        vlan: WantedVlan {
            parent: PARENT.to_owned(),
            id: 1,
            priority: 0,
        },
        maker: Maker::Kernel,
    };
    let kinds = ["bonding", "802.1Q"].into_iter().zip([lagg, vlan]);
    let kinds = kinds.zip(support());
    let tried = kinds.map(|((name, step), support)| DeviceKind {
        name,
        found: support != Support::Missing,
        trial: trial(&step, support),
    });
    tried.collect()
}

fn trial(step: &Step, support: Support) -> Trial {
    if support == Support::Module {
        let why = "its module is there and not loaded, and a look is to change nothing";
        return Trial::Untried(why.to_owned());
    }
    // The namespace goes with the thread.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| in_own_namespace(step));
        let ended = || Trial::Untried("the trial ended early".to_owned());
        thread.join().unwrap_or_else(|_| ended())
    })
}

fn in_own_namespace(step: &Step) -> Trial {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        let why = reason(&error.into());
        return Trial::Untried(format!("no network namespace for it: {why}"));
    }
    let ready = Device::create(PARENT, MAC, MTU).and_then(|parent| Ok((parent, Netlink::open()?)));
    let (_parent, mut netlink) = match ready {
        Ok(ready) => ready,
        Err(error) => return Trial::Untried(first_line(&error)),
    };
    let mut applied = Applied::default();
    let made = netlink.carry_out(step, &mut applied);
    netlink.undo(applied);
    made.map_or_else(|error| Trial::Refused(first_line(&error)), |()| Trial::Made)
}

fn first_line(error: &datapath::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
