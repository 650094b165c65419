//! Who is at an end of the links, and what failures cost between two of them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::clock;

use super::flows::{Echo, Flows, reach};
use super::lacp::alternate;
use super::open_vswitch::OpenVSwitch;
use super::site::{Keeper, Site};

/// Addresses of the near and of the far end.
pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// A link may take this long to carry again: Open vSwitch 3.1 takes up to 30 s.
const LONGEST_REJOIN: Duration = Duration::from_secs(90);
/// Until both sides of a silent link have given their partner up.
const SILENCE: Duration = Duration::from_secs(8);
/// Flows run this long before something fails.
const BEFORE: Duration = Duration::from_millis(500);

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    OpenVSwitch,
}

/// An end of both links.
pub(crate) enum End {
    Ours(Keeper),
    OpenVSwitch(OpenVSwitch),
}

impl End {
    fn carries(&self, port: &str) -> Result<bool> {
        match self {
            Self::Ours(keeper) => {
                let status = keeper.state()?;
                let ports = status.laggs.iter().flat_map(|lagg| &lagg.ports);
                let mut of_name = ports.filter(|known| known.name == port);
                Ok(of_name.any(|port| port.flags == 0x1c))
            }
            Self::OpenVSwitch(ovs) => ovs.carries(port),
        }
    }
}

/// A near and a far end, a machine that answers, and the links between them.
pub(crate) struct Pair {
    pub(crate) site: Site,
    pub(crate) near: End,
    pub(crate) far: End,
    _echo: Echo,
}

impl Pair {
    /// Starts both and waits until all links carry.
    pub(crate) fn start(root: &Path, near: Who, far: Who) -> Result<Self> {
        let site = Site::new("em")?;
        let far = match far {
            Who::OpenVSwitch => {
                End::OpenVSwitch(OpenVSwitch::start(&site, &site.far, root, "p0 p1", FAR)?)
            }
            Who::Ours => End::Ours(site.keep(&site.far, &rc_conf("p", FAR))?),
        };
        let near = match near {
            Who::OpenVSwitch => End::OpenVSwitch(OpenVSwitch::start(
                &site, &site.host, root, "em0 em1", NEAR,
            )?),
            Who::Ours => End::Ours(site.keep(&site.host, &rc_conf("em", NEAR))?),
        };
        let echo = Echo::start(&site.far)?;
        let pair = Self {
            site,
            near,
            far,
            _echo: echo,
        };
        pair.whole()?;
        Ok(pair)
    }

    /// Waits until all links carry, and traffic goes by them.
    pub(crate) fn whole(&self) -> Result<()> {
        for link in 0..2 {
            let up = self.until_carries(link)?;
            ensure!(up.is_some(), "link {link} does not carry");
        }
        reach(&self.site.host, FAR)
    }

    /// How long it takes until both ends use a link; none if they do not come to.
    fn until_carries(&self, link: usize) -> Result<Option<Duration>> {
        let start = clock::now();
        let both =
            || -> Result<bool> {
                Ok(self.near.carries(&format!("em{link}"))?
                    && self.far.carries(&format!("p{link}"))?)
            };
        while clock::now() - start < LONGEST_REJOIN {
            if both()? {
                return Ok(Some(clock::now() - start));
            }
            clock::pause(Duration::from_millis(20));
        }
        Ok(None)
    }

    /// From the moment that both links get a carrier until an answer comes.
    pub(crate) fn formation(&self) -> Result<Duration> {
        for link in 0..2 {
            self.site.carrier(link, false)?;
        }
        clock::pause(Duration::from_secs(1));
        let start = clock::now();
        for link in 0..2 {
            self.site.carrier(link, true)?;
        }
        let flows = Flows::start(&self.site.host, FAR)?;
        let first = flows.first_answer(LONGEST_REJOIN)?;
        self.whole()?;
        flows.stop()?;
        Ok(first - start)
    }

    /// The link that carries most; Open vSwitch leaves flows where they are when another link joins.
    fn busiest(&self) -> Result<usize> {
        let before = self.site.carried()?;
        clock::pause(BEFORE);
        let after = self.site.carried()?;
        let more = |link: usize| after[link].saturating_sub(before[link]);
        Ok(usize::from(more(1) > more(0)))
    }

    /// The longest gap of any flow when the busiest link loses its carrier, which it then gets back.
    pub(crate) fn carrier_cut(&self) -> Result<Duration> {
        let flows = Flows::start(&self.site.host, FAR)?;
        let link = self.busiest()?;
        self.site.carrier(link, false)?;
        clock::pause(Duration::from_secs(1));
        let cut = flows.stop()?;
        self.site.carrier(link, true)?;
        self.whole()?;
        Ok(cut)
    }

    /// The longest gap of any flow when the busiest link dies silently, and then the time until it carries
    /// again when it is mended.
    pub(crate) fn silent_cut(&self) -> Result<(Duration, Duration)> {
        let flows = Flows::start(&self.site.host, FAR)?;
        let link = self.busiest()?;
        self.site.whole(link, false)?;
        clock::pause(SILENCE);
        let cut = flows.stop()?;
        self.site.whole(link, true)?;
        let rejoined = self.until_carries(link)?.unwrap_or(LONGEST_REJOIN);
        self.whole()?;
        Ok((cut, rejoined))
    }

    /// The longest gap of any flow while the links die silently in turn.
    pub(crate) fn alternating(&self, turns: u32) -> Result<Duration> {
        alternate(&self.site, FAR, turns)
    }
}

/// What is at an end of ours.
pub(crate) fn rc_conf(ports: &str, address: Ipv4Addr) -> String {
    format!(
        "cloned_interfaces=\"lagg0\"\n\
         ifconfig_lagg0=\"laggproto lacp laggport {ports}0 laggport {ports}1 {address}/24\"\n"
    )
}
