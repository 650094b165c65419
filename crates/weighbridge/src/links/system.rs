//! The interfaces of this machine as ifconfig(8) shows them.

use std::fs;

use datapath::Error;
use datapath::netlink::Netlink;
use datapath::offload::offloads;
use links::show::{self, Interface};

use super::state::read_status;

/// All of them, by number.
pub(crate) fn interfaces() -> Result<Vec<Interface>, Error> {
    let mut all = Netlink::open()?.machine()?.interfaces();
    for interface in &mut all {
        interface.offloads = offloads(&interface.name);
        interface.speed = attribute(&interface.name, "speed").and_then(|text| text.parse().ok());
        interface.full_duplex =
            attribute(&interface.name, "duplex").and_then(|text| match text.as_str() {
                "full" => Some(true),
                "half" => Some(false),
                _ => None,
            });
    }
    show::complete(&mut all, read_status().as_ref());
    show::relate(&mut all);
    Ok(all)
}

/// A file of the interface below /sys; nothing where the driver does not know.
fn attribute(interface: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/sys/class/net/{interface}/{name}")).ok()?;
    Some(text.trim().to_owned())
}
