//! The only `unsafe` of the workspace: a system call that no safe wrapper offers.
#![expect(unsafe_code, reason = "the fence around it")]

use std::os::fd::AsFd;

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

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());
