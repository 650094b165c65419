//! Where fused flows may leave: `bpf/exit.bpf.h` learns their ways from packets that it sees leave,
//! so it must see each of them.

use std::collections::BTreeSet;
use std::io;

use pf_engine::env::IfIndex;

use crate::netlink::link::{self, Link};
use crate::{Datapath, Error};

impl Datapath {
    /// Interfaces, bridges, addresses or routes have changed: the flow cache forgets where packets
    /// leave.
    ///
    /// # Errors
    /// When the interfaces cannot be looked at, or the kernel refuses. What is wrong is forgotten
    /// within ten seconds all the same, or a minute in a cache for many flows.
    pub fn topology_changed(&mut self) -> Result<(), Error> {
        let links = link::list(&self.connection).map_err(ways_unknown)?;
        let ports = ports(&links, |index| self.attached.contains_key(&IfIndex(index)));
        let attached = self.attached.iter();
        let data = attached.map(|(index, attached)| {
            let is_seen = ports.contains(&index.0);
            (index.0, [attached.neighbours.0, u32::from(is_seen)])
        });
        let data = data.collect();
        self.program.set_exit_ports(&data).map_err(ways_unknown)?;
        self.exits = ports;
        self.neighbours_changed()?;
        self.set_xdp_ports()
    }

    pub(crate) fn set_xdp_ports(&mut self) -> Result<(), Error> {
        let Some(xdp) = &self.xdp else {
            return Ok(());
        };
        let has_queues = |port| self.queues.has(IfIndex(port));
        let ports = xdp.ports(&self.exits, has_queues);
        // What leaves by a port that goes has forgotten it before, and what was learnt meanwhile does behind.
        self.neighbours_changed()?;
        self.program.set_xdp_ports(&ports).map_err(ways_unknown)?;
        self.neighbours_changed()
    }

    /// The same for changes that concern neither interfaces nor what they are ports of.
    ///
    /// # Errors
    /// As [`Datapath::topology_changed`].
    pub fn neighbours_changed(&mut self) -> Result<(), Error> {
        self.topology = self.topology.wrapping_add(1);
        self.program
            .set_topology(self.topology)
            .map_err(ways_unknown)
    }
}

/// The interfaces, of those with hooks, that what is seen to leave there leaves by alone: all ports
/// of their bridge have hooks, so that a flood is known for what it is.
fn ports(links: &[Link], is_hooked: impl Fn(u32) -> bool) -> BTreeSet<u32> {
    let bridge = |link: &Link| link.controller.filter(|_| link.port.is_some());
    let unseen = links.iter().filter(|link| !is_hooked(link.index));
    let unseen: BTreeSet<u32> = unseen.filter_map(bridge).collect();
    let hooked = links.iter().filter(|link| is_hooked(link.index));
    let seen = hooked.filter(|link| bridge(link).is_none_or(|bridge| !unseen.contains(&bridge)));
    seen.map(|link| link.index).collect()
}

fn ways_unknown(source: io::Error) -> Error {
    Error::kernel(
        "the flow cache cannot be told of a change",
        source,
        "set fast-path = \"off\" in weighbridge.toml",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::link::PortSettings;

    fn port(index: u32, bridge: u32) -> Link {
        Link {
            controller: Some(bridge),
            port: Some(PortSettings::default()),
            ..link(index)
        }
    }

    fn link(index: u32) -> Link {
        Link {
            index,
            ..Link::default()
        }
    }

    #[test]
    fn flows_leave_by_ports_of_bridges_that_have_hooks_on_all_of_them() {
        let links = [
            link(1),
            link(2),
            port(3, 10),
            port(4, 10),
            port(5, 11),
            port(6, 11),
            link(10),
        ];
        let hooked = [2, 3, 4, 5, 10];
        let ports = ports(&links, |index| hooked.contains(&index));
        assert_eq!(ports, BTreeSet::from([2, 3, 4, 10]));
    }
}
