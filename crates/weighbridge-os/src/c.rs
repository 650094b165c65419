//! What C programs and Exim call. All `unsafe` of the library is here: pointers come from the
//! caller, and what they must point to is said in `weighbridge_os.h`.

#![allow(
    unsafe_code,
    reason = "the C ABI: pointers from the caller, names for the linker"
)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_uchar};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mail::answer::{Answer, Basis, Confidence, UNKNOWN};
use mail::connection::Peer;

use crate::reader::{Found, Reader};

/// Where `weighbridge watch` keeps its answers unless `[shared-memory]` says otherwise.
const DEFAULT_FILE: &str = "/run/weighbridge/os.shm";

/// The system is known.
pub const WEIGHBRIDGE_OS_KNOWN: c_int = 0;
/// The client was seen, no signature fits.
pub const WEIGHBRIDGE_OS_UNKNOWN: c_int = 1;
/// The client was not seen.
pub const WEIGHBRIDGE_OS_NOT_SEEN: c_int = 2;
/// No file, none that may be read, or its daemon is dead.
pub const WEIGHBRIDGE_OS_UNAVAILABLE: c_int = 3;
/// An argument is no address or port.
pub const WEIGHBRIDGE_OS_INVALID: c_int = 4;

/// Exim's `OK` of a function that `${dlfunc}` calls (the specification of its expansions).
const EXIM_OK: c_int = 0;

/// Pauses that Exim makes at most for a client whose SYN is not there: one that was never seen (a relay in
/// between, a daemon that has just been started) is waited for this long each time.
const PAUSES: usize = 20;
/// One of them. A daemon that is not held up reads a SYN in less.
const PAUSE: Duration = Duration::from_millis(1);

/// Bytes of a text, its NUL included.
const TEXT: usize = 160;
/// Bytes of a word, its NUL included.
const WORD: usize = 80;

/// A table that is open.
#[derive(Debug)]
pub struct WeighbridgeOs(Mutex<Reader>);

/// `struct weighbridge_os_answer`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WeighbridgeOsAnswer {
    /// `Linux 3.11 and newer`, or `Unknown`.
    pub os: [u8; TEXT],
    /// The value of an `X-OS-Fingerprint` header.
    pub header: [u8; TEXT],
    /// `unix`, `win`, `other`, `!`, or nothing.
    pub os_class: [u8; WORD],
    /// `Linux`.
    pub name: [u8; WORD],
    /// `3.11 and newer`.
    pub flavor: [u8; WORD],
    /// `DSL`.
    pub link: [u8; WORD],
    /// `exact`, `generic`, `similar`, `family`, or nothing.
    pub confidence: [u8; 16],
    /// Seconds since 1970.
    pub first_seen: u64,
    /// Seconds since 1970.
    pub last_seen: u64,
    /// Minutes, -1 when not known.
    pub uptime: i64,
    /// Connections of the address so far.
    pub connections: u32,
    /// Bytes, 0 when not known.
    pub mtu: u32,
    /// Routers between, -1 when not known.
    pub distance: i32,
    /// 1: it is of the very connection; 0: of another one of the address.
    pub of_connection: i32,
}

/// Makes a handle for the table in `file`, `NULL` for the usual one. The file need not be there.
/// `NULL` is returned for want of memory alone.
///
/// # Safety
/// `file` is `NULL` or a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weighbridge_os_open(file: *const c_char) -> *mut WeighbridgeOs {
    // SAFETY: the caller promises a string or NULL.
    let path = unsafe { bytes(file) }.unwrap_or(DEFAULT_FILE.as_bytes());
    let reader = Reader::new(PathBuf::from(OsStr::from_bytes(path)));
    Box::into_raw(Box::new(WeighbridgeOs(Mutex::new(reader))))
}

/// Frees a handle; nothing happens with `NULL`.
///
/// # Safety
/// `handle` is `NULL` or of [`weighbridge_os_open`], is not used by anybody, and never will be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weighbridge_os_close(handle: *mut WeighbridgeOs) {
    if !handle.is_null() {
        // SAFETY: it came out of Box::into_raw in weighbridge_os_open, and only once comes here.
        drop(unsafe { Box::from_raw(handle) });
    }
}

/// Looks up what is known of the client `address`, and of its very connection if `port` is not 0:
/// that to `server` and `server_port`, if these are told too. Writes `size` bytes of the answer at most.
///
/// # Safety
/// `handle` is of [`weighbridge_os_open`]; `address` and `server` are `NULL` or strings; `answer`
/// is `NULL` or has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weighbridge_os_lookup(
    handle: *const WeighbridgeOs,
    address: *const c_char,
    port: u16,
    server: *const c_char,
    server_port: u16,
    answer: *mut WeighbridgeOsAnswer,
    size: usize,
) -> c_int {
    // SAFETY: the caller promises a handle that lives, or NULL.
    let handle = unsafe { handle.as_ref() };
    // SAFETY: the caller promises strings or NULL.
    let (address, server) = unsafe { (bytes(address), bytes(server)) };
    let (status, found) = match (handle, peer(address, port, server, server_port)) {
        (None, _) | (_, None) => (WEIGHBRIDGE_OS_INVALID, None),
        (Some(handle), Some(peer)) => ask(&handle.0, &peer),
    };
    let told = WeighbridgeOsAnswer::of(found.as_deref());
    if !answer.is_null() {
        let size = size.min(size_of::<WeighbridgeOsAnswer>());
        let told: *const WeighbridgeOsAnswer = &raw const told;
        // SAFETY: the caller promises room for `size` bytes, and no more than `told` has are
        // copied; it is new, so the two do not overlap.
        unsafe { ptr::copy_nonoverlapping(told.cast::<u8>(), answer.cast::<u8>(), size) };
    }
    status
}

/// For Exim: `${dlfunc{/usr/local/lib/libweighbridge-os.so}{weighbridge_os_exim}{FORM}{ADDRESS}{PORT}
/// {SERVER}{SERVER-PORT}{FILE}}`. `FORM` is `os` or `header`; all behind the address may be left out. The result is
/// empty when nobody knows, `Unknown` for a client that nothing is known of: never a failure. A SYN that
/// the daemon has not read yet is waited for, 20 ms at most.
///
/// # Safety
/// As Exim calls it: `result` can be written to, `arguments` holds `count` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weighbridge_os_exim(
    result: *mut *mut c_uchar,
    count: c_int,
    arguments: *mut *mut c_uchar,
) -> c_int {
    let argument = |at: usize| {
        let there = usize::try_from(count).is_ok_and(|count| at < count) && !arguments.is_null();
        if !there {
            return None;
        }
        // SAFETY: `at` is below the number of strings that Exim promises.
        let argument = unsafe { *arguments.add(at) };
        // SAFETY: Exim's arguments are strings.
        unsafe { bytes(argument.cast()) }
    };
    let text = exim_answer([0, 1, 2, 3, 4, 5].map(argument));
    if !result.is_null() {
        // SAFETY: Exim promises that it can be written to.
        unsafe { *result = kept(text) };
    }
    EXIM_OK
}

/// Exim copies the result before it calls again, and it has one thread.
fn kept(text: String) -> *mut c_uchar {
    thread_local! {
        static KEPT: RefCell<CString> = RefCell::default();
    }
    KEPT.with_borrow_mut(|kept| {
        *kept = CString::new(text).unwrap_or_default();
        kept.as_ptr().cast_mut().cast()
    })
}

fn exim_answer([form, address, port, server, server_port, file]: [Option<&[u8]>; 6]) -> String {
    let port = port.map_or(Some(0), number);
    let server_port = server_port.map_or(Some(0), number);
    let peer = match (port, server_port) {
        (Some(port), Some(server_port)) => peer(address, port, server, server_port),
        _ => None,
    };
    let Some(peer) = peer else {
        return String::new();
    };
    let file = file.filter(|file| !file.is_empty());
    let file = OsStr::from_bytes(file.unwrap_or(DEFAULT_FILE.as_bytes()));
    match Reader::new(file.into()).look_up_again(&peer, PAUSES, pause) {
        Found::Unavailable => String::new(),
        Found::NotSeen => UNKNOWN.to_owned(),
        Found::Answer(answer) if form == Some(b"header") => answer.header_text(),
        Found::Answer(answer) => answer.os_text(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "Exim has a process for each connection: nobody else waits"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// A string of the caller; nothing for `NULL`.
///
/// # Safety
/// `text` is `NULL`, or a string that ends with NUL and lives and stays as it is for `'a`.
unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller promises it.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

fn ask(reader: &Mutex<Reader>, peer: &Peer) -> (c_int, Option<Box<Answer>>) {
    let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
    match reader.look_up(peer) {
        Found::Unavailable => (WEIGHBRIDGE_OS_UNAVAILABLE, None),
        Found::NotSeen => (WEIGHBRIDGE_OS_NOT_SEEN, None),
        Found::Answer(answer) if answer.os.is_none() => (WEIGHBRIDGE_OS_UNKNOWN, Some(answer)),
        Found::Answer(answer) => (WEIGHBRIDGE_OS_KNOWN, Some(answer)),
    }
}

fn peer(
    address: Option<&[u8]>,
    port: u16,
    server: Option<&[u8]>,
    server_port: u16,
) -> Option<Peer> {
    let client = parsed(address?)?;
    if port == 0 {
        return Some(Peer::address(client));
    }
    let peer = Peer::client(client, port);
    let server = server.filter(|server| !server.is_empty());
    Some(match server {
        Some(server) if server_port != 0 => peer.to_server(parsed(server)?, server_port),
        _ => peer,
    })
}

fn parsed(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A port; an empty text, as of an Exim variable without value, is 0.
fn number(text: &[u8]) -> Option<u16> {
    if text.is_empty() {
        return Some(0);
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl WeighbridgeOsAnswer {
    fn of(answer: Option<&Answer>) -> Self {
        let nothing = Answer::nothing(Basis::Address);
        let answer = answer.unwrap_or(&nothing);
        let label = answer.os.as_ref().map(|os| &os.label);
        let uptime = answer.uptime.map(|uptime| i64::from(uptime.minutes));
        let confidence = answer.os.as_ref().map(|os| os.confidence);
        Self {
            os: text(&answer.os_text()),
            header: text(&answer.header_text()),
            os_class: text(label.map_or("", |label| &label.class)),
            name: text(label.map_or("", |label| &label.name)),
            flavor: text(label.map_or("", |label| &label.flavor)),
            link: text(answer.link.as_deref().unwrap_or_default()),
            confidence: text(confidence.map_or("", Confidence::name)),
            first_seen: answer.first_seen.as_secs(),
            last_seen: answer.last_seen.as_secs(),
            uptime: uptime.unwrap_or(-1),
            connections: answer.connections,
            mtu: answer.mtu.unwrap_or(0),
            distance: answer.distance.map_or(-1, i32::from),
            of_connection: i32::from(answer.basis == Basis::Connection),
        }
    }
}

/// What fits of a text, and a NUL.
fn text<const LEN: usize>(text: &str) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let room = bytes.iter_mut().take(LEN.saturating_sub(1));
    for (place, byte) in room.zip(text.bytes()) {
        *place = byte;
    }
    bytes
}
