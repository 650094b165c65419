//! LACP between two machines of ours: links that fail in turn.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{clock, requirements};

use super::flows::{Echo, Flows, reach};
use super::site::Site;

/// The longest gap that is promised, and what a busy machine adds to it.
pub(crate) const LONGEST_GAP: Duration = Duration::from_millis(3_000 + 300);
/// How long a link is dead in its turn.
const TURN: Duration = Duration::from_secs(5);

/// Both links die in turn, each when the other is mended; the longest gap of any flow.
pub(crate) fn alternate(site: &Site, to: Ipv4Addr, turns: usize) -> Result<Duration> {
    let flows = Flows::start(&site.host, to)?;
    clock::pause(Duration::from_millis(500));
    for turn in 0..turns {
        site.whole(turn % 2, false)?;
        site.whole((turn + 1) % 2, true)?;
        clock::pause(TURN);
    }
    site.whole((turns + 1) % 2, true)?;
    flows.stop()
}

#[test]
fn links_that_die_silently_in_turn_never_take_the_traffic_for_more_than_three_seconds() -> Result<()>
{
    if requirements::skip_test("links_that_die_silently_in_turn") {
        return Ok(());
    }
    let site = Site::new("em")?;
    let rc_conf = |ports: &str, address: &str| {
        format!(
            "cloned_interfaces=\"lagg0\"\nifconfig_lagg0=\"laggproto lacp {ports} {address}\"\n"
        )
    };
    let far = site.keep(
        &site.far,
        &rc_conf("laggport p0 laggport p1", "10.0.0.1/24"),
    )?;
    let near = site.keep(
        &site.host,
        &rc_conf("laggport em0 laggport em1", "10.0.0.2/24"),
    )?;
    near.formed()?;
    far.formed()?;
    let _echo = Echo::start(&site.far)?;
    reach(&site.host, Ipv4Addr::new(10, 0, 0, 1))?;
    let longest = alternate(&site, Ipv4Addr::new(10, 0, 0, 1), 4)?;
    ensure!(longest <= LONGEST_GAP, "{longest:?}\n{:#?}", near.state()?);
    Ok(())
}
