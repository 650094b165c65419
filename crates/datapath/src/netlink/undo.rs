//! Taking back what was done.

use std::fs;
use std::io;

use links::offload::Offload;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::RouteMessage;

use super::connection::Connection;
use super::link::{self, BridgeSettings, PortSettings};
use super::{address, bridge, route};
use crate::offload;

/// How to take back one step. Devices are named by number: one that vanished and came back is
/// another device, which nothing was done to.
#[derive(Debug)]
pub(crate) enum Undo {
    RemoveLink(u32),
    SetBridge(u32, BridgeSettings),
    SetPort(u32, PortSettings),
    SetLink(u32, LinkAttribute),
    SetDown(u32),
    /// Of the interface of this name, for which ethtool has no number.
    SetOffload(String, Offload, bool),
    RemoveAddress(AddressMessage),
    RemoveRoute(RouteMessage),
    /// The address, and the routes that were lost with it.
    RestoreAddress(AddressMessage, Vec<RouteMessage>),
    WriteSysctl {
        path: String,
        value: String,
    },
}

impl Undo {
    fn carry_out(self, connection: &Connection) -> io::Result<()> {
        match self {
            Self::RemoveLink(index) => link::delete(connection, index),
            Self::SetBridge(index, settings) => bridge::change(connection, index, settings),
            Self::SetPort(index, settings) => bridge::change_port(connection, index, settings),
            Self::SetLink(index, attribute) => link::set(connection, index, vec![attribute]),
            Self::SetOffload(name, offload, on) => offload::set(&name, offload, on).map(drop),
            Self::SetDown(index) => link::set_up(connection, index, false),
            Self::RemoveAddress(message) => address::remove(connection, message),
            Self::RemoveRoute(message) => route::remove(connection, message),
            Self::RestoreAddress(message, routes) => {
                address::add(connection, reusable(message))?;
                for route in routes {
                    route::add(connection, route)?;
                }
                Ok(())
            }
            Self::WriteSysctl { path, value } => fs::write(path, value),
        }
    }
}

/// Without what only the kernel may say.
fn reusable(mut message: AddressMessage) -> AddressMessage {
    message
        .attributes
        .retain(|attribute| !matches!(attribute, AddressAttribute::CacheInfo(_)));
    message
}

/// Takes all steps back, the last one first. What is not there any more is left at that.
pub(crate) fn all(connection: &Connection, steps: Vec<Undo>) {
    for step in steps.into_iter().rev() {
        let what = format!("{step:?}");
        if let Err(error) = step.carry_out(connection) {
            tracing::debug!(%error, what, "cannot be undone");
        }
    }
}
