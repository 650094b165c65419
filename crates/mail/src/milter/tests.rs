use super::*;
use crate::testing::{Fakes, linux, seen};

const ALL: u32 = 0x1f_ffff;

fn frame(code: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).expect("short");
    [&length.to_be_bytes(), [code].as_slice(), data].concat()
}

fn negotiate(steps: u32) -> Vec<u8> {
    let words = [6_u32, 0x1ff, steps].map(u32::to_be_bytes);
    frame(b'O', words.as_flattened())
}

fn connected() -> Vec<u8> {
    let mut data = b"mx.example.org\x004".to_vec();
    data.extend_from_slice(&4711_u16.to_be_bytes());
    data.extend_from_slice(b"192.0.2.1\0");
    frame(b'C', &data)
}

/// Codes of the replies, in order.
fn codes(output: &[u8]) -> String {
    let mut frames = Frames::default();
    frames.push(output);
    let mut codes = String::new();
    while let Ok(Some(frame)) = frames.next_frame() {
        codes.push(char::from(frame[0]));
    }
    codes
}

fn session() -> MilterSession {
    MilterSession::new(MilterOptions { outcomes: true })
}

fn said(session: &mut MilterSession, fakes: &mut Fakes, frames: &[Vec<u8>]) -> (Vec<u8>, Flow) {
    let mut output = Vec::new();
    let flow = session.input(&frames.concat(), &mut output, &mut fakes.world());
    (output, flow)
}

#[test]
fn forged_headers_go_from_the_last_and_ours_comes_first() {
    let mut fakes = Fakes::knowing("192.0.2.1", linux());
    let (output, flow) = said(
        &mut session(),
        &mut fakes,
        &[
            negotiate(ALL),
            connected(),
            frame(b'D', b"Mi\x004bXYZ\0"),
            frame(b'M', b"<a@example.org>\0"),
            frame(b'R', b"<b@example.net>\0"),
            frame(b'L', b"x-os-fingerprint\0Plan 9\0"),
            frame(b'L', b"Subject\0hello\0"),
            frame(b'L', b"X-OS-Fingerprint\0BeOS\0"),
            frame(b'E', b""),
        ],
    );
    assert_eq!(flow, Flow::Continue);
    assert_eq!(codes(&output), "Ommic");
    let text = String::from_utf8_lossy(&output);
    let second = text.find("m\0\0\0\u{2}X-OS-Fingerprint\0\0").expect("two");
    let first = text.find("m\0\0\0\u{1}X-OS-Fingerprint\0\0").expect("one");
    assert!(second < first);
    assert!(text.contains("i\0\0\0\0X-OS-Fingerprint\0Linux 3.11 and newer (exact,"));
    let outcome = &fakes.outcomes()[0];
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert_eq!(outcome.message.as_deref(), Some("4bXYZ"));
    assert_eq!(seen(&fakes), [Peer::client([192, 0, 2, 1].into(), 4711)]);
}

#[test]
fn a_server_that_waits_for_replies_gets_them() {
    let mut fakes = Fakes::default();
    let frames = [
        negotiate(0),
        connected(),
        frame(b'H', b"mx\0"),
        frame(b'M', b"<a>\0"),
        frame(b'R', b"<b>\0"),
        frame(b'T', b""),
        frame(b'L', b"Subject\0x\0"),
        frame(b'N', b""),
        frame(b'B', b"text"),
        frame(b'E', b""),
    ];
    let (output, _) = said(&mut session(), &mut fakes, &frames);
    assert_eq!(codes(&output), "Occccccccic");
}

#[test]
fn macros_tell_both_ends_of_the_connection() {
    let mut fakes = Fakes::knowing("2001:db8::1", linux());
    let frames = [
        negotiate(ALL),
        frame(
            b'D',
            b"C{daemon_addr}\x002001:db8::25\0{daemon_port}\x0025\0{client_port}\x004712\0\
              {client_addr}\0IPv6:2001:db8::1\0",
        ),
        frame(b'C', b"mx\0U"),
        frame(b'M', b"<a>\0"),
        frame(b'E', b""),
    ];
    said(&mut session(), &mut fakes, &frames);
    let address = |text: &str| text.parse().expect("an address");
    let peer = Peer::client(address("2001:db8::1"), 4712).to_server(address("2001:db8::25"), 25);
    assert_eq!(seen(&fakes), [peer]);
}

fn refused(status: &str) -> Vec<u8> {
    let macros = format!("R{{rcpt_mailer}}\0error\0{{rcpt_host}}\0{status}\0");
    frame(b'D', macros.as_bytes())
}

#[test]
fn a_message_whose_recipients_were_all_refused_is_rejected_or_deferred() {
    for (status, verdict) in [("5.1.1", Verdict::Rejected), ("4.7.1", Verdict::Deferred)] {
        let mut fakes = Fakes::default();
        let frames = [
            negotiate(ALL),
            connected(),
            frame(b'M', b"<a>\0"),
            refused(status),
            frame(b'R', b"<b>\0"),
            frame(b'A', b""),
        ];
        said(&mut session(), &mut fakes, &frames);
        let verdicts: Vec<_> = fakes.outcomes().iter().map(|o| o.verdict).collect();
        assert_eq!(verdicts, [verdict]);
    }
}

#[test]
fn a_client_that_gives_up_has_no_outcome() {
    let mut fakes = Fakes::default();
    let frames = [
        negotiate(ALL),
        connected(),
        frame(b'M', b"<a>\0"),
        frame(b'R', b"<b>\0"),
        refused("5.1.1"),
        frame(b'R', b"<c>\0"),
        frame(b'Q', b""),
    ];
    let (_, flow) = said(&mut session(), &mut fakes, &frames);
    assert_eq!(flow, Flow::Close);
    assert_eq!(fakes.outcomes(), []);
}

#[test]
fn the_next_client_of_a_connection_is_another_one() {
    let mut fakes = Fakes::default();
    let frames = [
        negotiate(ALL),
        connected(),
        frame(b'K', b""),
        frame(b'C', b"local\0L"),
        frame(b'M', b"<a>\0"),
        frame(b'E', b""),
    ];
    let (output, _) = said(&mut session(), &mut fakes, &frames);
    assert_eq!(codes(&output), "Oc", "no header for who has no address");
    assert_eq!(seen(&fakes), []);
}

#[test]
fn a_broken_stream_is_closed() {
    let mut fakes = Fakes::default();
    for bad in [
        vec![0, 0, 0, 0],
        vec![0xff; 5],
        frame(b'O', b"short"),
        frame(b'C', b"no end"),
    ] {
        let (output, flow) = said(&mut session(), &mut fakes, &[bad]);
        assert_eq!((output, flow), (Vec::new(), Flow::Close));
    }
}
