//! The box in the middle of somebody else's aggregated links: a bridge for each.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::namespace::Namespace;
use lab::{Capture, RawSender, clock, requirements};

use super::daemon::Daemon;
use super::ends::{FAR, NEAR};
use super::flows::{Echo, Flows, reach};
use super::open_vswitch::{OpenVSwitch, programs};
use super::site::{PATIENCE, Site};

/// A partner must see within this time that a link is gone.
const SEEN: Duration = Duration::from_millis(100);
const FORMED: Duration = Duration::from_mins(1);
const TRIES: usize = 10;

const FILES: [(&str, &str); 4] = [
    ("bridgename.bridge0", "add a0\nadd b0\nup\n"),
    ("bridgename.bridge1", "add a1\nadd b1\nup\n"),
    ("pf.conf", "pass all\n"),
    (
        "weighbridge.toml",
        "carrier-pass-through = [\"bridge0\", \"bridge1\"]\nlog-directory = \"LOGS\"\n",
    ),
];

fn start(site: &Site) -> Result<Daemon> {
    let logs = site.run.directory().join("logs").display().to_string();
    let files = FILES.map(|(name, text)| (name, text.replace("LOGS", &logs)));
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    Daemon::start(site, &site.middle, &files)
}

fn has_carrier(inside: &Namespace, interface: &str) -> bool {
    let text = inside.ip(&format!("link show dev {interface}"));
    text.is_ok_and(|text| text.contains("LOWER_UP"))
}

/// How long it takes until an interface has a carrier, or has none.
fn until_carrier(inside: &Namespace, interface: &str, on: bool) -> Result<Duration> {
    let start = clock::now();
    while has_carrier(inside, interface) != on {
        ensure!(
            clock::now() - start < FORMED,
            "{interface}: carrier is not {on}"
        );
        clock::pause(Duration::from_millis(2));
    }
    Ok(clock::now() - start)
}

#[test]
fn lacp_of_others_forms_through_the_box_and_a_lost_carrier_moves_their_traffic_at_once()
-> Result<()> {
    let test = "lacp_of_others_forms_through_the_box";
    if requirements::skip_test(test) {
        return Ok(());
    }
    let Some(root) = programs(test) else {
        return Ok(());
    };
    let site = Site::without_bridges("em")?;
    let daemon = start(&site)?;
    let far = OpenVSwitch::start(&site, &site.far, &root, "p0 p1", FAR)?;
    let near = OpenVSwitch::start(&site, &site.host, &root, "em0 em1", NEAR)?;
    let formed = || {
        ["em0", "em1"]
            .iter()
            .all(|port| near.carries(port).unwrap_or(false))
            && ["p0", "p1"]
                .iter()
                .all(|port| far.carries(port).unwrap_or(false))
    };
    ensure!(
        clock::wait_until(FORMED, formed),
        "{}\n{}",
        near.ask("lacp/show")?,
        daemon.log()
    );
    let partners = near.ask("lacp/show")?;
    ensure!(partners.contains("status: active negotiated"), "{partners}");
    let _echo = Echo::start(&site.far)?;
    reach(&site.host, FAR)?;

    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let flows = Flows::start(&site.host, FAR)?;
        clock::pause(Duration::from_millis(500));
        // Only the near end loses its carrier: the far one hears of it by the box.
        site.host.ip("link set dev em0 down")?;
        clock::pause(Duration::from_secs(1));
        best = best.min(flows.stop()?);
        site.host.ip("link set dev em0 up")?;
        ensure!(clock::wait_until(FORMED, formed), "{}", daemon.log());
        reach(&site.host, FAR)?;
        if best < SEEN {
            break;
        }
    }
    eprintln!("a lost carrier of one end: {best:?}");
    ensure!(best < SEEN, "{best:?}\n{}", daemon.log());
    Ok(())
}

#[test]
fn a_lost_carrier_is_passed_through_both_ways_and_comes_back_without_swinging() -> Result<()> {
    if requirements::skip_test("a_lost_carrier_is_passed_through") {
        return Ok(());
    }
    let site = Site::without_bridges("em")?;
    let daemon = start(&site)?;
    clock::pause(Duration::from_millis(500));
    for (here, mine, there, theirs) in [
        (&site.host, "em0", &site.far, "p0"),
        (&site.far, "p1", &site.host, "em1"),
    ] {
        let mut best = Duration::MAX;
        for _ in 0..TRIES {
            here.ip(&format!("link set dev {mine} down"))?;
            best = best.min(until_carrier(there, theirs, false)?);
            here.ip(&format!("link set dev {mine} up"))?;
            until_carrier(there, theirs, true)?;
            until_carrier(here, mine, true)?;
            if best < SEEN {
                break;
            }
        }
        eprintln!("{mine} to {theirs}: {best:?}");
        ensure!(best < SEEN, "{theirs}: {best:?}\n{}", daemon.log());
    }
    // Nothing goes on by itself.
    let rests = clock::wait_until(PATIENCE, || {
        let before = daemon.log();
        clock::pause(Duration::from_secs(1));
        daemon.log() == before
    });
    ensure!(rests, "it swings:\n{}", daemon.log());
    for (inside, interface) in [(&site.host, "em0"), (&site.far, "p0")] {
        ensure!(has_carrier(inside, interface), "{interface}");
    }

    // A daemon that ends leaves no port down.
    site.host.ip("link set dev em0 down")?;
    until_carrier(&site.far, "p0", false)?;
    daemon.stop()?;
    until_carrier(&site.far, "p0", true)?;
    Ok(())
}

#[test]
fn frames_of_the_spanning_tree_and_of_lacp_cross_the_box_on_their_own_link_only() -> Result<()> {
    if requirements::skip_test("frames_of_the_spanning_tree") {
        return Ok(());
    }
    let site = Site::without_bridges("em")?;
    let _daemon = start(&site)?;
    let heard = [
        Capture::start(&site.far, "p0")?,
        Capture::start(&site.far, "p1")?,
    ];
    let sender = RawSender::open(&site.host, "em0")?;
    for (last, kind) in [
        (0x00, [0x00, 0x26]),
        (0x02, [0x88, 0x09]),
        (0x0e, [0x88, 0xcc]),
    ] {
        let header = [&[0x01, 0x80, 0xc2, 0, 0, last, 2, 0, 0, 0, 0, 1][..], &kind].concat();
        sender.send(&[header, vec![0x42; 46]].concat())?;
    }
    let is_ours = |frame: &[u8]| frame.get(14..18) == Some(&[0x42; 4]);
    heard[0].wait_for(PATIENCE, 3, is_ours);
    let counts = heard.map(|capture| {
        let frames = capture.finish();
        frames.iter().filter(|frame| is_ours(frame)).count()
    });
    ensure!(counts == [3, 0], "{counts:?}");
    Ok(())
}
