//! What a lagg tells its neighbours when the traffic moves to another port.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Capture, clock, requirements};

use super::site::Site;

const PROBED: Duration = Duration::from_secs(6);

/// Frames of this Ethernet type that came from `mac`.
fn sent<'f>(frames: &'f [Vec<u8>], mac: &[u8], kind: [u8; 2]) -> Vec<&'f [u8]> {
    let is_it = |f: &&Vec<u8>| f.get(6..12) == Some(mac) && f.get(12..14) == Some(&kind);
    frames.iter().filter(is_it).map(Vec::as_slice).collect()
}

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
    keeper.until("up", PROBED, |lagg| lagg.up && lagg.ports[0].flags == 5)?;
    // lagg(4): the first port's address is everybody's.
    let lagg = mac_of(&site, "lagg0")?;
    ensure!(lagg == before[0], "{lagg:?}, not {:?}", before[0]);
    ensure!(mac_of(&site, "em1")? == lagg, "em1 has another address");

    let heard = Capture::start(&site.far, "p1")?;
    site.carrier(0, false)?;
    keeper.until("failed over", PROBED, |lagg| lagg.ports[1].flags == 4)?;
    // The second announcement comes a second after the first.
    clock::pause(Duration::from_secs(2));
    let frames = heard.finish();
    let arp = sent(&frames, &lagg, [0x08, 0x06]);
    let gratuitous = arp.iter().filter(|frame| is_gratuitous(frame)).count();
    ensure!(gratuitous >= 2, "{gratuitous} announcements: {arp:x?}");
    let ipv6 = sent(&frames, &lagg, [0x86, 0xdd]);
    let told = ipv6.iter().filter(|f| is_advertisement(f, &lagg)).count();
    ensure!(told >= 2, "{told} advertisements: {ipv6:x?}");

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
