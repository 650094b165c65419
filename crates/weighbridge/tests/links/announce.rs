//! What a lagg tells its neighbours when the traffic moves to another port.

use anyhow::{Context, Result, ensure};
use lab::{Capture, requirements};

use super::site::{PATIENCE, Site};

/// A gratuitous ARP request for 10.0.0.2.
fn is_gratuitous(frame: &[u8]) -> bool {
    let own = [10, 0, 0, 2];
    frame.get(..6) == Some(&[0xff; 6])
        && frame.get(20..22) == Some(&[0, 1])
        && frame.get(28..32) == Some(&own)
        && frame.get(38..42) == Some(&own)
}

/// An unsolicited advertisement to all nodes of `fd00::2`, with the override flag and `mac`.
fn is_advertisement(frame: &[u8], mac: &[u8]) -> bool {
    let own = [&[0xfd][..], &[0; 14], &[2]].concat();
    frame.get(..6) == Some(&[0x33, 0x33, 0, 0, 0, 1])
        && frame.get(54) == Some(&136)
        && frame.get(58) == Some(&0x20)
        && frame.get(62..78) == Some(&own[..])
        && frame.get(78..80) == Some(&[2, 1])
        && frame.get(80..86) == Some(mac)
}

#[test]
fn a_failover_is_announced_by_arp_and_neighbour_advertisements_under_the_masters_address()
-> Result<()> {
    if requirements::skip_test("a_failover_is_announced") {
        return Ok(());
    }
    let site = Site::new("em")?;
    site.switch("10.0.0.1/24")?;
    let rc_conf = "cloned_interfaces=\"lagg0\"\n\
         ifconfig_lagg0=\"laggproto failover laggport em0 laggport em1 10.0.0.2/24\"\n\
         ifconfig_lagg0_ipv6=\"inet6 fd00::2 prefixlen 64\"\n";
    let before = [mac_of(&site, "em0")?, mac_of(&site, "em1")?];
    let mut keeper = site.keep(&site.host, rc_conf)?;
    keeper.until("up", PATIENCE, |lagg| lagg.up && lagg.ports[0].flags == 5)?;
    // lagg(4): the first port's address is everybody's.
    let lagg = mac_of(&site, "lagg0")?;
    ensure!(lagg == before[0], "{lagg:?}, not {:?}", before[0]);
    ensure!(mac_of(&site, "em1")? == lagg, "em1 has another address");

    let heard = Capture::start(&site.far, "p1")?;
    site.carrier(0, false)?;
    keeper.until("failed over", PATIENCE, |lagg| lagg.ports[1].flags == 4)?;
    // The second announcement comes a second after the first.
    let is_of = |frame: &[u8], kind: &[u8]| {
        frame.get(6..12) == Some(&lagg[..]) && frame.get(12..14) == Some(kind)
    };
    let by_arp = |frame: &[u8]| is_of(frame, &[0x08, 0x06]) && is_gratuitous(frame);
    let by_ipv6 = |frame: &[u8]| is_of(frame, &[0x86, 0xdd]) && is_advertisement(frame, &lagg);
    let twice = heard.wait_for(PATIENCE, 2, by_arp);
    ensure!(twice, "no two announcements: {:x?}", heard.frames());
    let twice = heard.wait_for(PATIENCE, 2, by_ipv6);
    ensure!(twice, "no two advertisements: {:x?}", heard.frames());

    // Each port gets its own address back.
    keeper.stop()?;
    let after = [mac_of(&site, "em0")?, mac_of(&site, "em1")?];
    ensure!(after == before, "{after:x?}, not {before:x?}");
    Ok(())
}

fn mac_of(site: &Site, interface: &str) -> Result<Vec<u8>> {
    let mac = lab::capture::ethernet_address(&site.host, interface);
    Ok(mac.context("an address")?.to_vec())
}
