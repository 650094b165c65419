//! The only `unsafe` of the workspace: system calls that no safe wrapper offers.
#![expect(unsafe_code, reason = "the fence around it")]

pub(crate) mod maps;
pub(crate) mod memory;
pub(crate) mod packet;
pub(crate) mod shared;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Result;
use rustix::ioctl::{Opcode, Updater, ioctl};

/// `_IOW('T', 202, int)`, `linux/if_tun.h`. The kernel reads and writes an `ifreq` all the same.
const TUNSETIFF: Opcode = 0x4004_54ca;

/// `IFNAMSIZ`: a name's bytes with the terminating zero.
const NAME_LEN: usize = 16;

/// Longest interface name, in bytes.
pub(crate) const NAME_MAX: usize = NAME_LEN - 1;

/// `struct ifreq` as `TUNSETIFF` uses it: the name, then a union of 24 bytes that begins with
/// the flags.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_LEN],
    flags: u16,
    unused: [u8; 22],
}

/// Makes the network device `name` behind a file of `/dev/net/tun`. The name must have at most
/// [`NAME_MAX`] bytes; what is longer is cut off.
pub(crate) fn create_tun(file: impl AsFd, name: &str, flags: u16) -> Result<()> {
    let mut request = InterfaceRequest {
        name: [0; NAME_LEN],
        flags,
        unused: [0; 22],
    };
    for (to, from) in request.name[..NAME_MAX].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF takes a pointer to `struct ifreq`, 40 bytes on every 64-bit Linux, and
    // touches nothing else. `InterfaceRequest` has its size and layout, and outlives the call.
    unsafe { ioctl(file, Updater::<TUNSETIFF, _>::new(&mut request)) }
}

/// `_IOW('T', 226, int)`, `linux/if_tun.h`.
const TUNSETCARRIER: Opcode = 0x4004_54e2;

/// Says whether the device behind a file of `/dev/net/tun` has a carrier.
pub(crate) fn set_tun_carrier(file: impl AsFd, on: bool) -> Result<()> {
    let mut carrier = libc::c_int::from(on);
    // SAFETY: TUNSETCARRIER reads one `int` at the pointer, which outlives the call.
    unsafe { ioctl(file, Updater::<TUNSETCARRIER, _>::new(&mut carrier)) }
}

/// `SIOCETHTOOL`, `linux/sockios.h`.
const SIOCETHTOOL: Opcode = 0x8946;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// `struct ifreq` as `SIOCETHTOOL` uses it.
#[repr(C)]
struct EthtoolRequest {
    name: [u8; NAME_LEN],
    data: *mut EthtoolValue,
    unused: [u8; 16],
}

const _: () = assert!(size_of::<EthtoolRequest>() == size_of::<libc::ifreq>());

/// Has the driver of the interface `name` carry out a command that takes `data`, or answers with a number.
pub(crate) fn ethtool(socket: impl AsFd, name: &str, command: u32, data: u32) -> Result<u32> {
    let mut value = EthtoolValue { command, data };
    let mut request = EthtoolRequest {
        name: [0; NAME_LEN],
        data: &raw mut value,
        unused: [0; 16],
    };
    for (to, from) in request.name.iter_mut().zip(name.bytes().take(NAME_MAX)) {
        *to = from;
    }
    // SAFETY: SIOCETHTOOL takes a pointer to `struct ifreq`, whose size and layout the request
    // has, and for the commands of this crate reads and writes the `struct ethtool_value` that it
    // points to; both outlive the call.
    unsafe { ioctl(socket, Updater::<SIOCETHTOOL, _>::new(&mut request)) }?;
    Ok(value.data)
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

/// The open file `number` that the program before this one (execve(2)) has left; the next one gets it
/// only if it is passed on again. A file that this program has opened itself is refused.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: both commands of fcntl(2) take no pointer; a number that is not open is an error.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if number <= libc::STDERR_FILENO || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody here owns it: Rust and this crate open files with
    // FD_CLOEXEC, which it did not have before and has from now on, so that it is taken once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`, `linux/bpf.h`.
#[derive(Clone, Copy, Debug)]
enum BpfCommand {
    Attach = 8,
    Detach = 9,
}

/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`, `linux/bpf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TcxPoint {
    Ingress = 46,
    Egress = 47,
}

/// The part of `union bpf_attr` that `BPF_PROG_ATTACH` uses.
#[repr(C)]
struct AttachRequest {
    target_ifindex: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
    relative_fd: u32,
    expected_revision: u64,
}

/// Puts a program behind those that are at a TCX point, without a link: it stays when this
/// process is gone, until it is taken off or the interface goes.
pub(crate) fn attach_tcx(
    program: BorrowedFd<'_>,
    interface: u32,
    point: TcxPoint,
) -> io::Result<()> {
    change_tcx(BpfCommand::Attach, program, interface, point)
}

/// Takes off what [`attach_tcx`] put on.
pub(crate) fn detach_tcx(
    program: BorrowedFd<'_>,
    interface: u32,
    point: TcxPoint,
) -> io::Result<()> {
    change_tcx(BpfCommand::Detach, program, interface, point)
}

fn change_tcx(
    command: BpfCommand,
    program: BorrowedFd<'_>,
    interface: u32,
    point: TcxPoint,
) -> io::Result<()> {
    let request = AttachRequest {
        target_ifindex: interface,
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: point as u32,
        attach_flags: 0,
        replace_bpf_fd: 0,
        relative_fd: 0,
        expected_revision: 0,
    };
    // SAFETY: bpf(2) reads `size` bytes of the attributes and, for these two commands, writes
    // nothing. `AttachRequest` begins as `union bpf_attr` does, the kernel takes what is missing
    // for zero, and the request outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            &raw const request,
            size_of::<AttachRequest>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
