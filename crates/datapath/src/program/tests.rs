//! What is loaded where the kernel refuses something.

use std::cell::RefCell;

use super::*;

/// What was tried, of a kernel that takes what `takes` says, and what came of it.
fn tried(lanes: u32, takes: impl Fn(u32) -> bool) -> (Vec<u32>, Result<u32, String>) {
    let tried = RefCell::default();
    let loaded = or_without_lanes(lanes, |lanes| {
        let tried: &RefCell<Vec<u32>> = &tried;
        tried.borrow_mut().push(lanes);
        if takes(lanes) {
            return Ok(lanes);
        }
        Err(not_loaded(io::Error::other(format!("with {lanes}"))))
    });
    let loaded = loaded.map_err(|error| error.to_string());
    (tried.into_inner(), loaded)
}

#[test]
fn a_kernel_that_refuses_lanes_has_the_hooks_without() {
    assert_eq!(tried(64, |_| true), (vec![64], Ok(64)));
    assert_eq!(tried(64, |lanes| lanes == 1), (vec![64, 1], Ok(1)));
}

#[test]
fn a_kernel_that_refuses_all_has_its_first_reason_told() {
    let (asked, loaded) = tried(64, |_| false);
    assert_eq!(asked, [64, 1]);
    let error = loaded.expect_err("refused");
    assert!(error.contains("with 64"), "{error}");
    assert_eq!(tried(1, |_| false).0, [1], "there is nothing to do without");
}

#[test]
fn the_part_for_drivers_is_loaded_when_an_attempt_has_failed_half_way() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED half loaded: needs root");
        return;
    }
    let room = Room::of(1024);
    let owner = crate::left::owner_data(1, "wbtest", NonZeroU16::MIN);
    let ebpf = load(&owner, room, room.lanes()).expect("loads");
    let mut program = Program {
        ebpf,
        attachment: Attachment::Clsact,
        policy: FailPolicy::Pass,
        xdp_ports: BTreeSet::new(),
    };
    let paver = program.xdp(FLOW_XDP_PAVE).expect("a program");
    if let Err(error) = paver.load() {
        println!("SKIPPED half loaded: no XDP here ({error})");
        return;
    }
    assert_eq!(program.load_xdp(), Ok(()));
    assert_eq!(program.load_xdp(), Ok(()), "it is there");
}
