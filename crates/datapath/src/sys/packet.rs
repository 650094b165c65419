//! Packet sockets (packet(7)) with a filter of classic BPF.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// One instruction of a filter: code, jump if true, jump if false, operand.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// What came with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Bytes that were put into the buffer.
    pub(crate) len: usize,
    /// Ethernet type.
    pub(crate) protocol: u16,
    /// `PACKET_HOST` and so on.
    pub(crate) kind: u8,
    /// `ARPHRD_ETHER` and so on.
    pub(crate) hardware: u16,
    /// Since 1970, if the kernel tells.
    pub(crate) time: Option<Duration>,
    /// The VLAN tag that was taken out of the frame, if the kernel tells.
    pub(crate) tag: Option<u16>,
}

/// Room for the one control message that is asked for: a header and a `timespec`.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Makes the socket pass only what `filter` accepts.
pub(crate) fn attach_filter(socket: impl AsFd, filter: &[Instruction]) -> io::Result<()> {
    let mut program: Vec<libc::sock_filter> = filter
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let value = libc::sock_fprog {
        len,
        filter: program.as_mut_ptr(),
    };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &value)
}

/// Asks for the time of arrival of each packet.
pub(crate) fn ask_for_times(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)
}

/// Makes frames begin with a `virtio_net_hdr`, in both directions; tells the tags that were taken
/// out of frames; and hears nothing of what this machine sends.
pub(crate) fn carry_whole_frames(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    for option in [
        libc::PACKET_VNET_HDR,
        libc::PACKET_AUXDATA,
        libc::PACKET_IGNORE_OUTGOING,
    ] {
        set_option(&socket, libc::SOL_PACKET, option, &on)?;
    }
    Ok(())
}

/// Tells the tags that were taken out of frames, hears nothing of what this machine sends, and sends
/// before all other traffic, as the kernel's own bonding does (`TC_PRIO_CONTROL`).
pub(crate) fn control_links(socket: impl AsFd) -> io::Result<()> {
    const PRIORITY_CONTROL: libc::c_int = 7; // linux/pkt_sched.h
    let on: libc::c_int = 1;
    for option in [libc::PACKET_AUXDATA, libc::PACKET_IGNORE_OUTGOING] {
        set_option(&socket, libc::SOL_PACKET, option, &on)?;
    }
    let priority = PRIORITY_CONTROL;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_PRIORITY, &priority)
}

fn set_option<T>(socket: &impl AsFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: setsockopt(2) reads `len` bytes at `value`, which is that large and outlives the
    // call; what a `sock_fprog` points to does so too, in the one caller that has one.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            len,
        )
    };
    checked(done)
}

/// Starts to hear `protocol` on `interface` (0: on all).
pub(crate) fn bind(socket: impl AsFd, interface: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: all zeros is a valid `sockaddr_ll`, which has only integers.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(interface).unwrap_or(i32::MAX);
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: bind(2) reads `len` bytes at the address, which is that large.
    let done = unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), len) };
    checked(done)
}

/// Takes the next packet; an error of kind `WouldBlock` when there is none.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Arrival> {
    // SAFETY: all zeros is valid for both, which have only integers.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut control = Control([0; 64]);
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zeros is valid: null pointers with lengths of zero.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = control.0.len();
    // SAFETY: recvmsg(2) writes to the address, the buffer and the control room, each no further
    // than the length that stands beside it, and all outlive the call.
    let len = unsafe {
        libc::recvmsg(
            socket.as_fd().as_raw_fd(),
            &raw mut message,
            libc::MSG_DONTWAIT,
        )
    };
    let Ok(len) = usize::try_from(len) else {
        return Err(io::Error::last_os_error());
    };
    Ok(Arrival {
        len: len.min(buffer.len()),
        protocol: u16::from_be(address.sll_protocol),
        kind: address.sll_pkttype,
        hardware: address.sll_hatype,
        time: time_of(&message),
        tag: tag_of(&message),
    })
}

/// The VLAN tag in the control messages of `message`.
fn tag_of(message: &libc::msghdr) -> Option<u16> {
    // SAFETY: the kernel has filled the control room of `message`, which is alive, and has set its
    // length; CMSG_FIRSTHDR returns null or a header that lies in it whole.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    let is_data = header.cmsg_level == libc::SOL_PACKET && header.cmsg_type == libc::PACKET_AUXDATA;
    // SAFETY: as above; the length of the smallest such message is arithmetic.
    let least =
        unsafe { libc::CMSG_LEN(libc::c_uint::try_from(size_of::<libc::tpacket_auxdata>()).ok()?) };
    if !is_data || header.cmsg_len < usize::try_from(least).ok()? {
        return None;
    }
    // SAFETY: the message is long enough for a `tpacket_auxdata`, which may lie unaligned.
    let data = unsafe {
        libc::CMSG_DATA(header)
            .cast::<libc::tpacket_auxdata>()
            .read_unaligned()
    };
    (data.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(data.tp_vlan_tci)
}

/// The time in the control messages of `message`.
fn time_of(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel has filled the control room of `message`, which is alive, and has set its
    // length; CMSG_FIRSTHDR returns null or a header that lies in it whole.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    let is_time =
        header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_TIMESTAMPNS;
    // SAFETY: as above; the length of the smallest such message is arithmetic.
    let least =
        unsafe { libc::CMSG_LEN(libc::c_uint::try_from(size_of::<libc::timespec>()).ok()?) };
    if !is_time || header.cmsg_len < usize::try_from(least).ok()? {
        return None;
    }
    // SAFETY: the message is long enough for a `timespec`, which may lie unaligned.
    let time = unsafe {
        libc::CMSG_DATA(header)
            .cast::<libc::timespec>()
            .read_unaligned()
    };
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanos))
}

/// Packets that found no room since the last time that was asked.
pub(crate) fn lost(socket: impl AsFd) -> io::Result<u32> {
    // SAFETY: all zeros is a valid `tpacket_stats`, which has only integers.
    let mut statistics: libc::tpacket_stats = unsafe { mem::zeroed() };
    let mut len = libc::socklen_t::try_from(size_of_val(&statistics)).unwrap_or_default();
    // SAFETY: getsockopt(2) writes at most `len` bytes to `statistics`, which is that large.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut len,
        )
    };
    checked(done)?;
    Ok(statistics.tp_drops)
}

fn checked(done: libc::c_int) -> io::Result<()> {
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
