//! Hooks that outlive their daemon: finding them, telling whose they are, taking them off.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU16;
use std::os::fd::AsFd;

use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::tc::SchedClassifier;
use aya::programs::{ProgramInfo, TcAttachType, loaded_programs};
use aya::util::KernelVersion;
use netlink_packet_core::NLM_F_ACK;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};

use crate::netlink::connection::Connection;
use crate::netlink::link;
use crate::program::{HOOK_IN, HOOK_OUT, TCX_KERNEL, io_error, tcx_point};
use crate::sys;

/// Bytes of `owner` in the BPF program: the TAP's number, its name, the token.
const OWNER_LEN: usize = 24;

/// Bytes of all its constants, of which `owner` is the first one: those of lanes follow.
const CONSTANTS_LEN: usize = 56;

/// Where the token stands in it.
const TOKEN_AT: usize = 20;

/// `owner` as it lies in memory.
pub(crate) type OwnerData = [u8; OWNER_LEN];

/// Beginning of the name of the map that holds a program's constants.
const CONSTANTS: &str = ".rodata";

/// Parents of clsact's filters (`TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)` and its kin,
/// `linux/pkt_sched.h`).
const FILTER_PARENTS: [TcHandle; 2] = [
    TcHandle {
        major: 0xffff,
        minor: 0xfff2,
    },
    TcHandle {
        major: 0xffff,
        minor: 0xfff3,
    },
];

/// Whose a hook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) tap: u32,
    pub(crate) tap_name: String,
}

/// A hook on an interface, whoever put it there.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) owner: Owner,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Tcx(Box<ProgramInfo>, u32, TcAttachType),
    Filter(TcHeader),
}

/// What the loader writes into `owner`. The token is what packets that come from the daemon are
/// told by: random, and new with each daemon.
pub(crate) fn owner_data(tap: u32, tap_name: &str, token: NonZeroU16) -> OwnerData {
    let mut data = [0; OWNER_LEN];
    let name = tap_name.bytes().take(sys::NAME_MAX);
    let bytes = tap.to_ne_bytes().into_iter().chain(name);
    for (to, from) in data.iter_mut().zip(bytes) {
        *to = from;
    }
    let token = u32::from(token.get()).to_ne_bytes();
    for (to, from) in data.iter_mut().skip(TOKEN_AT).zip(token) {
        *to = from;
    }
    data
}

impl Owner {
    fn of_data(data: OwnerData) -> Self {
        let [a, b, c, d, name @ ..] = data;
        let name = name.into_iter().take(TOKEN_AT - 4);
        let name: Vec<u8> = name.take_while(|byte| *byte != 0).collect();
        Self {
            tap: u32::from_ne_bytes([a, b, c, d]),
            tap_name: String::from_utf8_lossy(&name).into_owned(),
        }
    }

    fn of_program(program: &ProgramInfo) -> io::Result<Option<Self>> {
        for id in program.map_ids().map_err(io_error)?.unwrap_or_default() {
            let map = MapInfo::from_id(id).map_err(io_error)?;
            let constants = map
                .name_as_str()
                .is_some_and(|name| name.contains(CONSTANTS));
            if constants && map.value_size() as usize == CONSTANTS_LEN {
                let data = MapData::from_id(id).map_err(io_error)?;
                let array: Array<_, [u8; CONSTANTS_LEN]> =
                    Map::Array(data).try_into().map_err(io_error)?;
                let constants = array.get(&0, 0).map_err(io_error)?;
                return Ok(constants.first_chunk().copied().map(Self::of_data));
            }
        }
        Ok(None)
    }

    /// A TAP lives as long as its daemon.
    pub(crate) fn is_alive(&self, connection: &Connection) -> bool {
        link::is_called(connection, self.tap, &self.tap_name)
    }
}

/// All hooks of ours on an interface, of any daemon, living or dead.
pub(crate) fn find(connection: &Connection, index: u32, name: &str) -> io::Result<Vec<Found>> {
    let mut found = tcx_hooks(index, name)?;
    found.extend(filters(connection, index)?);
    Ok(found)
}

impl Found {
    /// Takes it off.
    pub(crate) fn remove(self, connection: &Connection) -> io::Result<()> {
        match self.place {
            Place::Tcx(program, index, at) => {
                let fd = program.fd().map_err(io_error)?;
                sys::detach_tcx(fd.as_fd(), index, tcx_point(at))
            }
            Place::Filter(header) => {
                let mut message = TcMessage::default();
                message.header = header;
                connection.act(RouteNetlinkMessage::DelTrafficFilter(message), NLM_F_ACK)
            }
        }
    }
}

fn tcx_hooks(index: u32, name: &str) -> io::Result<Vec<Found>> {
    if !KernelVersion::current().is_ok_and(|running| running >= TCX_KERNEL) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for at in [TcAttachType::Ingress, TcAttachType::Egress] {
        let (_, programs) = SchedClassifier::query_tcx(name, at).map_err(io_error)?;
        for program in programs.into_iter().filter(is_hook) {
            if let Some(owner) = Owner::of_program(&program)? {
                let place = Place::Tcx(Box::new(program), index, at);
                found.push(Found { owner, place });
            }
        }
    }
    Ok(found)
}

fn is_hook(program: &ProgramInfo) -> bool {
    let name = program.name_as_str();
    name.is_some_and(|name| [HOOK_IN, HOOK_OUT].contains(&name))
}

fn filters(connection: &Connection, index: u32) -> io::Result<Vec<Found>> {
    let mut headers = BTreeMap::new();
    for parent in FILTER_PARENTS {
        for (id, header) in filters_of(connection, index, parent)? {
            headers.entry(id).or_insert_with(Vec::new).push(header);
        }
    }
    if headers.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for program in loaded_programs().flatten().filter(is_hook) {
        let Some(headers) = headers.remove(&program.id()) else {
            continue;
        };
        if let Some(owner) = Owner::of_program(&program)? {
            found.extend(headers.into_iter().map(|header| Found {
                owner: owner.clone(),
                place: Place::Filter(header),
            }));
        }
    }
    Ok(found)
}

/// The BPF filters at one side of an interface, with the number of their program. None where
/// there is no clsact.
fn filters_of(
    connection: &Connection,
    index: u32,
    parent: TcHandle,
) -> io::Result<Vec<(u32, TcHeader)>> {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = parent;
    let answers = match connection.dump(&RouteNetlinkMessage::GetTrafficFilter(message)) {
        Ok(answers) => answers,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(answers.into_iter().filter_map(program_of).collect())
}

fn program_of(message: RouteNetlinkMessage) -> Option<(u32, TcHeader)> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = message else {
        return None;
    };
    let id = message.attributes.iter().find_map(|attribute| {
        if let TcAttribute::Options(options) = attribute {
            options.iter().find_map(program_id)
        } else {
            None
        }
    })?;
    Some((id, message.header))
}

const fn program_id(option: &TcOption) -> Option<u32> {
    if let TcOption::Bpf(TcFilterBpfOption::ProgId(id)) = option {
        Some(*id)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_back_as_it_was_written() {
        let data = owner_data(7, "weighbridge0", NonZeroU16::MAX);
        assert_eq!(data[TOKEN_AT..], 0xffff_u32.to_ne_bytes());
        let owner = Owner::of_data(data);
        assert_eq!(
            owner,
            Owner {
                tap: 7,
                tap_name: "weighbridge0".into()
            }
        );
        assert_eq!(
            Owner::of_data(owner_data(1, "fifteen_letters", NonZeroU16::MAX)).tap_name,
            "fifteen_letters"
        );
    }
}
