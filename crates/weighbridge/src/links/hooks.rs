//! Devices that the kernel makes come up when the daemon that claims them has its hooks on them. (Those that
//! this program makes have a gate instead.)

use std::time::Duration;

use datapath::netlink::Netlink;
use links::plan::{Maker, Step};
use rustix::event::{Timespec, poll};

use super::claim::Claim;

/// Between two looks at whether there are hooks.
const LOOK: Duration = Duration::from_millis(10);
/// Looks at most: five seconds, while the daemon waits ten for its links.
const LOOKS: u32 = 500;

/// Waits before `step`, of `steps`, brings up what another of them has made.
///
/// # Errors
/// When the daemon lets it wait for too long, or what it claims cannot be read.
pub(super) fn hooks_first(
    step: &Step,
    steps: &[Step],
    netlink: &mut Netlink,
) -> Result<(), String> {
    let Step::Up { name } = step else {
        return Ok(());
    };
    if !steps.iter().any(|step| is_made_by_kernel(step, name)) {
        return Ok(());
    }
    let interfaces = netlink.interfaces().map_err(|error| error.to_string())?;
    let made = interfaces.iter().find(|found| found.name == *name);
    let index = made.map_or(0, |made| made.index.0);
    for _ in 0..LOOKS {
        let claim = Claim::read()?;
        if claim.is_none_or(|claim| claim.lets_pass(name, index, claim.is_alive(netlink))) {
            return Ok(());
        }
        pause(LOOK);
    }
    Err(format!(
        "{name} is not brought up: the daemon that filters it has no hooks on it\n  hint: start \
         `weighbridge run`; or, if it is not to be filtered, `weighbridge unhook`"
    ))
}

fn is_made_by_kernel(step: &Step, device: &str) -> bool {
    let (Step::MakeLagg { name, maker, .. } | Step::MakeVlan { name, maker, .. }) = step else {
        return false;
    };
    name == device && *maker == Maker::Kernel
}

/// Sleeps for less than a second.
pub(crate) fn pause(time: Duration) {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: time.subsec_nanos().into(),
    };
    let _ = poll(&mut [], Some(&timeout));
}

#[cfg(test)]
mod tests {
    use links::WantedVlan;

    use super::*;

    #[test]
    fn devices_of_the_kernel_that_are_new_wait_and_others_do_not() {
        let make = |maker| Step::MakeVlan {
            name: "vlan5".into(),
            vlan: WantedVlan {
                parent: "em0".into(),
                id: 5,
                priority: 0,
            },
            maker,
        };
        assert!(is_made_by_kernel(&make(Maker::Kernel), "vlan5"));
        assert!(!is_made_by_kernel(&make(Maker::Own), "vlan5"));
        assert!(!is_made_by_kernel(&make(Maker::Kernel), "em0"));
    }
}
