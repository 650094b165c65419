//! The two examples of "Improving Network Reliability on FreeBSD".

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Capture, clock, requirements};

use super::flows::{Echo, Flows, reach};
use super::site::{Keeper, PATIENCE, Site, until};

const FAILOVER: &str = include_str!("../../../links/tests/article/failover.conf");
const TRUNK: &str = include_str!("../../../links/tests/article/trunk.conf");
/// The far end of the second one: a VLAN of a bridge.
const FAR: &str = "vlans_br0=\"22\"\nifconfig_br0_22=\"192.168.1.1/24\"\n";
const FAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// A loss of carrier may cost no more; the best of some tries counts, for a busy machine delays
/// those who measure.
const CARRIER_LIMIT: Duration = Duration::from_millis(100);
const TRIES: usize = 10;
/// A cut that nobody sees may cost no more: three questions without an answer.
const SILENT_LIMIT: Duration = Duration::from_millis(1_500);
const SETTLE: Duration = Duration::from_millis(600);

/// The longest gap of flows while `work` goes on.
fn gap_during(site: &Site, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let flows = Flows::start(&site.host, FAR_ADDRESS)?;
    clock::pause(SETTLE);
    work()?;
    clock::pause(SETTLE);
    flows.stop()
}

/// The block of `weighbridge ifconfig` with the lab's own addresses taken out.
fn block(keeper: &Keeper, site: &Site, interface: &str) -> Result<String> {
    let text = keeper.ifconfig(&site.host, interface)?;
    let ours = |line: &&str| !line.contains("ether ") && !line.contains("inet6 ");
    Ok(text
        .lines()
        .filter(ours)
        .map(|line| line.to_owned() + "\n")
        .collect())
}

/// Waits until a block is so.
fn until_block(keeper: &Keeper, site: &Site, interface: &str, expected: &str) -> Result<()> {
    let read = || block(keeper, site, interface);
    clock::wait_until(PATIENCE, || read().is_ok_and(|text| text == expected));
    assert_eq!(read()?, expected);
    Ok(())
}

#[test]
fn the_first_example_moves_its_traffic_in_a_tenth_of_a_second_and_tells_the_switch() -> Result<()> {
    if requirements::skip_test("the_first_example") {
        return Ok(());
    }
    let site = Site::new("bge")?;
    site.switch("192.168.1.1/24")?;
    let mut keeper = site.keep(&site.host, FAILOVER)?;
    let _echo = Echo::start(&site.far)?;
    keeper.until("up", PATIENCE, |lagg| lagg.up)?;
    reach(&site.host, FAR_ADDRESS)?;
    until_block(
        &keeper,
        &site,
        "lagg0",
        "lagg0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n\
         \toptions=19b<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,VLAN_HWCSUM,TSO4>\n\
         \tinet 192.168.1.5 netmask 0xffffff00 broadcast 192.168.1.255\n\
         \tmedia: Ethernet autoselect\n\tstatus: active\n\tlaggproto failover\n\
         \tlaggport: bge0 flags=0<>\n\tlaggport: bge1 flags=5<MASTER,ACTIVE>\n",
    )?;
    until("there is nothing left to apply", || {
        let diff = keeper.weighbridge(&site.host, &["links", "diff", &conf(&site)]);
        diff.is_ok_and(|diff| diff.status.success())
    })?;

    let heard = Capture::start(&site.far, "p0")?;
    let (mut down, mut back) = (Duration::MAX, Duration::MAX);
    for _ in 0..TRIES {
        down = down.min(gap_during(&site, || site.carrier(1, false))?);
        back = back.min(gap_during(&site, || site.carrier(1, true))?);
        if down.max(back) < CARRIER_LIMIT {
            break;
        }
    }
    ensure!(
        down < CARRIER_LIMIT && back < CARRIER_LIMIT,
        "{down:?} down, {back:?} back"
    );
    let gratuitous = |frame: &[u8]| {
        frame.get(12..14) == Some(&[8, 6])
            && frame.get(28..32) == Some(&[192, 168, 1, 5])
            && frame.get(38..42) == Some(&[192, 168, 1, 5])
    };
    let told = heard.wait_for(PATIENCE, 1, gratuitous);
    ensure!(told, "no gratuitous ARP by the standby");

    let own = keeper.state()?.laggs[0].ports[1].own_mac.clone();
    keeper.stop()?;
    let left = || site.host.ip("-br link");
    until("lagg0 is gone, and bge0 has its address back", || {
        left().is_ok_and(|left| !left.contains("lagg0") && left.contains(&own))
    })
    .with_context(|| format!("{own}: {:?}", left()))
}

fn conf(site: &Site) -> String {
    let path = site
        .run
        .directory()
        .join(format!("{}.conf", site.host.name()));
    path.display().to_string()
}

/// What the plug-in says, and its exit status.
fn checked(keeper: &Keeper, site: &Site) -> Result<(Option<i32>, String)> {
    let output = keeper.weighbridge(&site.host, &["check", "links"])?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

/// Waits until it says so.
fn until_checked(keeper: &Keeper, site: &Site, status: i32, beginning: &str) -> Result<()> {
    let is_so =
        |(code, told): (Option<i32>, String)| code == Some(status) && told.starts_with(beginning);
    clock::wait_until(PATIENCE, || checked(keeper, site).is_ok_and(is_so));
    let found = checked(keeper, site)?;
    ensure!(is_so(found.clone()), "{found:?}");
    Ok(())
}

#[test]
fn the_second_example_is_vlan_22_on_a_lagg_and_finds_a_silent_cut_by_questions() -> Result<()> {
    if requirements::skip_test("the_second_example") {
        return Ok(());
    }
    let site = Site::new("em")?;
    site.switch("")?;
    let _far = site.keep(&site.far, FAR)?;
    let rc_conf = format!("{TRUNK}defaultrouter=\"{FAR_ADDRESS}\"\n");
    let keeper = site.keep(&site.host, &rc_conf)?;
    let _echo = Echo::start(&site.far)?;
    keeper.until("up", PATIENCE, |lagg| lagg.up && lagg.probe.is_some())?;
    reach(&site.host, FAR_ADDRESS)?;
    until_block(
        &keeper,
        &site,
        "vlan0",
        "vlan0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n\
         \toptions=3<RXCSUM,TXCSUM>\n\
         \tinet 192.168.1.5 netmask 0xffffff00 broadcast 192.168.1.255\n\
         \tmedia: Ethernet autoselect\n\tstatus: active\n\tvlan: 22 parent interface: lagg0\n",
    )?;
    let em1 = keeper.ifconfig(&site.host, "em1")?;
    ensure!(
        em1.ends_with("\tstatus: active\n\tlagg: laggdev lagg0\n"),
        "{em1}"
    );
    until_checked(&keeper, &site, 0, "LINKS OK: lagg0 (failover): 2 of 2")?;
    let mend = || {
        site.whole(0, true)?;
        keeper.until("mended", PATIENCE, |lagg| lagg.ports[0].flags == 5)
    };
    let mut silent = Duration::MAX;
    for number in 0..TRIES {
        if number > 0 {
            mend()?;
            reach(&site.host, FAR_ADDRESS)?;
        }
        let gap = gap_during(&site, || {
            site.whole(0, false)?;
            keeper.until("silent", PATIENCE, |lagg| lagg.ports[0].silent)
        })?;
        silent = silent.min(gap);
        if silent < SILENT_LIMIT {
            break;
        }
    }
    ensure!(silent < SILENT_LIMIT, "{silent:?}");
    until_checked(
        &keeper,
        &site,
        1,
        "LINKS WARNING: lagg0 (failover): 1 of 2 links work, standby em1 in use instead of em0, \
         em0 passes nothing |",
    )?;
    let ports = "\tlaggport: em1 flags=4<ACTIVE>\n\tlaggport: em0 flags=1<MASTER>\n";
    until("ifconfig tells of it", || {
        let text = keeper.ifconfig(&site.host, "lagg0");
        text.is_ok_and(|text| text.contains(ports))
    })?;
    mend()
}
