//! What the hardware of an interface does for the kernel, as ethtool(8) tells and switches it.

use std::io;
use std::os::fd::OwnedFd;

use links::offload::{Offload, Offloads};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys;

// linux/ethtool.h
const ETHTOOL_GRXCSUM: u32 = 0x14;
const ETHTOOL_SRXCSUM: u32 = 0x15;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const FLAG_TX_VLAN: u32 = 1 << 7;
const FLAG_RX_VLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;

/// What the hardware of the interface `name` does. What cannot be asked counts as off.
#[must_use]
pub fn offloads(name: &str) -> Offloads {
    let Ok(socket) = socket() else {
        return Offloads::default();
    };
    let ask = |command| sys::ethtool(&socket, name, command, 0).unwrap_or(0);
    let bits = ask(ETHTOOL_GFLAGS);
    Offloads {
        rx_checksum: ask(ETHTOOL_GRXCSUM) != 0,
        tx_checksum: ask(ETHTOOL_GTXCSUM) != 0,
        segmentation: ask(ETHTOOL_GTSO) != 0,
        vlan: bits & FLAG_TX_VLAN != 0 && bits & FLAG_RX_VLAN != 0,
        lro: bits & FLAG_LRO != 0,
    }
}

/// Has the hardware of the interface `name` do it, or not. Whether it did before.
pub(crate) fn set(name: &str, offload: Offload, on: bool) -> io::Result<bool> {
    let before = offloads(name).does(offload);
    let socket = socket()?;
    let flags = |bits: u32| -> io::Result<(u32, u32)> {
        let now = sys::ethtool(&socket, name, ETHTOOL_GFLAGS, 0)?;
        Ok((ETHTOOL_SFLAGS, if on { now | bits } else { now & !bits }))
    };
    let (command, data) = match offload {
        Offload::RxChecksum => (ETHTOOL_SRXCSUM, u32::from(on)),
        Offload::TxChecksum => (ETHTOOL_STXCSUM, u32::from(on)),
        Offload::Segmentation => (ETHTOOL_STSO, u32::from(on)),
        Offload::Vlan => flags(FLAG_TX_VLAN | FLAG_RX_VLAN)?,
        Offload::Lro => flags(FLAG_LRO)?,
    };
    sys::ethtool(&socket, name, command, data)?;
    Ok(before)
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        flags,
        None,
    )?)
}
