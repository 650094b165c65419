//! The packet log without a network: the writer's thread, those who watch, and files.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::{Poll, Token, Waker};
use pf_engine::addr::Family;
use pf_engine::decision::{DropReason, LogAction, LogEntry};
use pf_engine::rule::Direction;
use pf_engine::wire::build::{Ip, udp};
use weighbridge::config::SocketArgument;
use weighbridge::control::protocol::{Response, decode};
use weighbridge::control::server::Control;
use weighbridge::control::server::live::Feed;
use weighbridge::control::server::socket::ControlSocket;
use weighbridge::output::Output;
use weighbridge::pflog::command::{LogArguments, execute};
use weighbridge::pflog::record::Record;
use weighbridge::pflog::writer::{LogSettings, LogStatistics, Logger};

/// More than all queues and buffers of a watcher hold.
const FLOOD: u32 = 20_000;

fn entry(port: u16, log: u8) -> LogEntry {
    let ip = Ip::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let bytes = udp(&ip, port, 53, b"query");
    LogEntry {
        in_anchor: None,
        log,
        rule: Some(3),
        identifier: 0,
        owner: None,
        action: LogAction::Block,
        reason: DropReason::Match,
        direction: Direction::In,
        interface: Arc::from("em0"),
        family: Family::Inet,
        length: bytes.len(),
        bytes,
    }
}

fn control(dir: &Path) -> (Control, Poll) {
    let socket = ControlSocket::bind(&dir.join("control.sock")).expect("socket");
    let poll = Poll::new().expect("poll");
    let waker = Waker::new(poll.registry(), Token(0)).expect("waker");
    let control = Control::start(socket.into(), &Arc::new(waker)).expect("control thread");
    (control, poll)
}

fn settings(dir: &Path) -> LogSettings {
    LogSettings {
        directory: dir.to_owned(),
        ..LogSettings::default()
    }
}

/// Output of `weighbridge log FILE` and its exit status.
fn printed(file: &Path, json: bool) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = LogArguments {
        file: Some(file.to_owned()),
        follow: false,
        interface: None,
        json,
        socket: SocketArgument::default(),
    };
    let mut output = Output {
        out: &mut out,
        err: &mut err,
        rich_errors: false,
    };
    let status = execute(&arguments, &mut output);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status, text(out), text(err))
}

#[test]
fn what_is_logged_is_in_the_file_of_its_log_when_the_writer_ends() {
    let dir = tempfile::tempdir().expect("directory");
    let logs = dir.path().join("made/by/us");
    settings(&logs).prepare().expect("is made");
    let (control, _poll) = control(dir.path());
    let mut logger = Logger::start(settings(&logs), control.feed()).expect("writer");
    let time = Duration::from_secs(1_700_000_000);
    logger.log(vec![entry(1000, 0), entry(1001, 2)], time, (0, 1));
    logger.finish();
    let wanted = LogStatistics {
        written: 2,
        lost: 0,
    };
    assert_eq!(logger.statistics(), wanted);
    let (status, out, err) = printed(&logs.join("pflog2.pcap"), false);
    let line = "22:13:20.000000 rule 3/0(match): block in on em0: \
                10.0.0.1.1001 > 10.0.0.2.53: UDP, length 5\n";
    assert_eq!((status, out.as_str(), err.as_str()), (0, line, ""));
    let (_, json, _) = printed(&logs.join("pflog2.pcap"), true);
    assert!(json.contains("\"log\":\"pflog2\""), "{json}");
}

#[test]
fn what_is_no_log_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("x");
    std::fs::write(&file, "text").expect("write");
    let (status, out, err) = printed(&file, false);
    let wanted = format!("weighbridge log: {}: no pcap file\n", file.display());
    assert_eq!((status, out.as_str(), err), (1, "", wanted));
}

fn watch(dir: &Path) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(dir.join("control.sock")).expect("connects");
    stream
        .write_all(b"{\"watch\":{\"log\":null}}\n")
        .expect("asks");
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .expect("timeout");
    BufReader::new(stream)
}

fn response(reader: &mut BufReader<UnixStream>) -> Response {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).expect("a line");
    decode(&line).expect("a response")
}

/// Offers records until the watcher has been seen to.
fn attach(feed: &Feed, reader: &mut BufReader<UnixStream>) {
    let (stream, patience) = (reader.get_ref(), Duration::from_millis(50));
    stream.set_nonblocking(false).expect("blocks");
    stream.set_read_timeout(Some(patience)).expect("timeout");
    while reader.fill_buf().is_err() {
        feed.offer(Record::new(entry(1, 0), Duration::ZERO, (0, 0)));
    }
    let patience = Duration::from_mins(1);
    reader
        .get_ref()
        .set_read_timeout(Some(patience))
        .expect("timeout");
}

#[test]
fn a_watcher_who_does_not_read_loses_packets_and_is_told_how_many() {
    let dir = tempfile::tempdir().expect("directory");
    let (control, _poll) = control(dir.path());
    let feed = control.feed();
    let mut reader = watch(dir.path());
    attach(&feed, &mut reader);
    // Nobody reads: this must come to an end all the same.
    for number in 0..FLOOD {
        feed.offer(Record::new(
            entry(2, 0),
            Duration::from_secs(number.into()),
            (0, 0),
        ));
    }
    let (mut packets, mut lost) = (0_u64, 0_u64);
    while packets + lost < u64::from(FLOOD) {
        // Only the next packet brings the number of those that were lost before it.
        feed.offer(Record::new(entry(3, 0), Duration::ZERO, (0, 0)));
        match response(&mut reader) {
            Response::Packet(_) => packets += 1,
            Response::Lost(count) => lost += count,
            Response::Text(_) | Response::Done(_) | Response::Error(_) => panic!("no answer"),
        }
    }
    assert!(
        packets > 0 && lost > u64::from(FLOOD) / 10,
        "{packets} {lost}"
    );
}
