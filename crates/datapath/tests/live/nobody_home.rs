//! Hooks that outlive their daemon.

use datapath::{Attachment, Error, FailPolicy, Unhooked, unhook};

use crate::support::{Lab, TCX, has, index_here, open_as};

/// That this kernel has.
fn kinds() -> Vec<Attachment> {
    let mut kinds = vec![Attachment::Clsact];
    kinds.extend(has(TCX).then_some(Attachment::Tcx));
    kinds
}

/// Whether nothing comes back.
fn is_cut_off(lab: &Lab) -> bool {
    !reaches_within(lab, "1")
}

/// Whether an answer comes back, however long it takes.
fn reaches(lab: &Lab) -> bool {
    reaches_within(lab, "30")
}

fn reaches_within(lab: &Lab, seconds: &str) -> bool {
    lab.within("a", || {
        let ping = std::process::Command::new("ping")
            .args(["-c", "1", "-W", seconds, "10.0.0.2"])
            .output();
        ping.expect("ping runs").status.success()
    })
}

#[test]
fn nothing_passes_when_the_daemon_is_gone_until_someone_unhooks() {
    for kind in kinds() {
        let Some(mut lab) = Lab::new("blocked") else {
            return;
        };
        lab.bridged();
        lab.static_neighbours();
        lab.within("box", || {
            let mut datapath = open_as(Some(kind), FailPolicy::Block).expect("opens");
            datapath.attach(index_here("em1")).expect("attaches");
            datapath.attach(index_here("fxp0")).expect("attaches");
            let filtered = unhook(&[]).expect("looks");
            let filtered: Vec<_> = filtered
                .filtered
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(
                filtered.len(),
                2,
                "{filtered:?}: a living daemon's hooks stay"
            );
            drop(datapath);
        });
        assert!(is_cut_off(&lab), "{kind:?}");
        let unhooked = lab.within("box", || unhook(&["em1".to_owned()]).expect("unhooks"));
        assert_eq!(unhooked.freed, ["em1"]);
        assert!(is_cut_off(&lab), "{kind:?}: fxp0 still blocks");
        let unhooked = lab.within("box", || unhook(&[]).expect("unhooks"));
        assert_eq!(unhooked.freed, ["fxp0"]);
        assert!(reaches(&lab), "{kind:?}");
        let nothing = lab.within("box", || unhook(&[]).expect("unhooks"));
        assert_eq!(nothing, Unhooked::default());
    }
}

#[test]
fn a_new_daemon_takes_over_what_a_dead_one_left() {
    for (before, after) in [
        (Attachment::Tcx, Attachment::Tcx),
        (Attachment::Clsact, Attachment::Clsact),
        (Attachment::Clsact, Attachment::Tcx),
    ] {
        if !kinds().contains(&after) {
            continue;
        }
        let Some(mut lab) = Lab::new("takeover") else {
            return;
        };
        lab.bridged();
        lab.static_neighbours();
        lab.within("box", || {
            let mut dead = open_as(Some(before), FailPolicy::Block).expect("opens");
            dead.attach(index_here("em1")).expect("attaches");
            dead.attach(index_here("fxp0")).expect("attaches");
            drop(dead);
            let mut next = open_as(Some(after), FailPolicy::Block).expect("opens");
            next.attach(index_here("em1")).expect("takes over");
            assert_eq!(next.clean_up().expect("cleans up"), ["fxp0"]);
            next.release();
        });
        assert!(reaches(&lab), "{before:?} {after:?}: nothing is left");
    }
}

#[test]
fn a_start_that_fails_leaves_blocked_what_was_blocked() {
    let Some(mut lab) = Lab::new("abandon") else {
        return;
    };
    lab.bridged();
    lab.static_neighbours();
    let open = || open_as(None, FailPolicy::Block).expect("opens");
    lab.within("box", || {
        open().attach(index_here("em1")).expect("attaches");
        let mut next = open();
        next.attach(index_here("em1")).expect("attaches");
        next.attach(index_here("fxp0")).expect("attaches");
        assert_eq!(next.abandon(), ["em1"]);
        drop(next);
        assert_eq!(
            unhook(&["fxp0".to_owned()]).expect("looks"),
            Unhooked::default()
        );
    });
    assert!(is_cut_off(&lab));
}

#[test]
fn an_interface_that_another_daemon_filters_is_refused() {
    let Some(mut lab) = Lab::new("two") else {
        return;
    };
    lab.bridged();
    lab.within("box", || {
        let mut first = open_as(None, FailPolicy::Block).expect("opens");
        first.attach(index_here("em1")).expect("attaches");
        let config = datapath::DatapathConfig {
            tap: "other0".to_owned(),
            policy: FailPolicy::Block,
            fast_path: datapath::FastPath::Off,
            flow_states: datapath::FLOW_STATES_DEFAULT,
        };
        let mut second = datapath::Datapath::open(&config).expect("opens");
        let error = second.attach(index_here("em1")).expect_err("is taken");
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
        assert!(error.to_string().contains("TAP weighbridge0"), "{error}");
        second.attach(index_here("fxp0")).expect("is free");
        second.release();
        first.release();
    });
}
