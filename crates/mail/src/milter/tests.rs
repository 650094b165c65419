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

/// What Postfix sends of a header that a client has made longer than any buffer of ours.
fn long_header(name: &str, bytes: usize) -> Vec<u8> {
    frame(
        b'L',
        &[name.as_bytes(), b"\0", &vec![b'x'; bytes], b"\0"].concat(),
    )
}

#[test]
fn a_header_that_is_longer_than_what_is_kept_does_not_save_a_forged_one() {
    let mut fakes = Fakes::knowing("192.0.2.1", linux());
    let frames = [
        negotiate(ALL),
        connected(),
        frame(b'M', b"<a>\0"),
        frame(b'R', b"<b>\0"),
        long_header("X-Long", 102_400),
        long_header("X-OS-Fingerprint", 102_400),
        frame(b'L', b"X-OS-Fingerprint\0BeOS\0"),
        frame(b'E', b""),
    ];
    // In one piece, and in the pieces that sockets make of it.
    let whole = frames.concat();
    for size in [whole.len(), 1024, 7] {
        let mut session = session();
        let mut output = Vec::new();
        for piece in whole.chunks(size) {
            let flow = session.input(piece, &mut output, &mut fakes.world());
            assert_eq!(flow, Flow::Continue);
        }
        assert_eq!(codes(&output), "Ommic", "pieces of {size}");
    }
}

#[test]
fn a_long_frame_is_not_kept_and_one_without_bounds_is_refused() {
    let mut frames = Frames::default();
    let longest = u32::try_from(wire::FRAME_LONGEST).expect("fits");
    frames.push(&longest.to_be_bytes());
    frames.push(b"B");
    let mut got = 0;
    for _ in 1..wire::FRAME_LONGEST {
        frames.push(b"x");
        while let Ok(Some(frame)) = frames.next_frame() {
            assert_eq!(frame.len(), wire::FRAME_MAX);
            got += 1;
        }
    }
    frames.push(&frame(b'Q', b""));
    assert_eq!(frames.next_frame(), Ok(Some(b"Q".to_vec())));
    assert_eq!(got, 1);
    // Longer than anything, and macros, which no client makes long.
    for (length, code) in [(longest + 1, b'B'), (longest, b'D')] {
        let mut frames = Frames::default();
        frames.push(&length.to_be_bytes());
        frames.push(&[code]);
        assert_eq!(frames.next_frame(), Err(wire::BadFrame));
    }
}

#[test]
fn a_server_is_not_told_what_it_does_not_let_us_do() {
    for (actions, replies) in [(0_u32, "Oc"), (0x01, "Oic"), (0x10, "Omc"), (0x11, "Omic")] {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let offer = [6_u32, actions, ALL].map(u32::to_be_bytes);
        let frames = [
            frame(b'O', offer.as_flattened()),
            connected(),
            frame(b'M', b"<a>\0"),
            frame(b'L', b"X-OS-Fingerprint\0BeOS\0"),
            frame(b'E', b""),
        ];
        let (output, _) = said(&mut session(), &mut fakes, &frames);
        assert_eq!(codes(&output), replies, "{actions:#x}");
    }
}

#[test]
fn versions_from_two_on_are_spoken_and_ours_is_not_exceeded() {
    for (offered, spoken) in [
        (0, None),
        (1, None),
        (2, Some(2)),
        (4, Some(4)),
        (9, Some(6)),
    ] {
        let words = [offered, 0x1ff, 0x7f].map(u32::to_be_bytes);
        let offer = frame(b'O', words.as_flattened());
        let (output, flow) = said(&mut session(), &mut Fakes::default(), &[offer]);
        let version = output.get(5..9).map(|word| word[3]);
        assert_eq!(version, spoken, "{offered}");
        assert_eq!(flow == Flow::Close, spoken.is_none());
    }
}

#[test]
fn the_servers_end_is_told_in_any_order_and_as_sendmail_writes_it() {
    let mut fakes = Fakes::default();
    let frames = [
        negotiate(ALL),
        frame(
            b'D',
            b"C{daemon_port}\x0025\0{daemon_addr}\0IPv6:2001:db8::25\0{client_port}\x004712\0",
        ),
        frame(b'C', b"mx\x006\x12\x67IPv6:2001:db8::1\0"),
        frame(b'M', b"<a>\0"),
        frame(b'E', b""),
    ];
    said(&mut session(), &mut fakes, &frames);
    let address = |text: &str| text.parse().expect("an address");
    let peer = Peer::client(address("2001:db8::1"), 4712).to_server(address("2001:db8::25"), 25);
    assert_eq!(seen(&fakes), [peer]);
}

#[test]
fn each_message_of_a_connection_has_its_own_fate_and_name() {
    let mut fakes = Fakes::default();
    let frames = [
        negotiate(ALL),
        connected(),
        frame(b'D', b"Mi\0one\0"),
        frame(b'M', b"<a>\0"),
        frame(b'R', b"<b>\0"),
        frame(b'L', b"X-OS-Fingerprint\0BeOS\0"),
        frame(b'E', b""),
        // RSET behind a message that is over, and one that is given up.
        frame(b'A', b""),
        frame(b'D', b"Mi\0two\0"),
        frame(b'M', b"<a>\0"),
        frame(b'R', b"<b>\0"),
        frame(b'A', b""),
        frame(b'U', b"XCLIENT\0"),
        frame(b'D', b"Mi\0three\0"),
        frame(b'M', b"<a>\0"),
        refused("5.1.1"),
        frame(b'R', b"<c>\0"),
        frame(b'Q', b""),
    ];
    let (output, _) = said(&mut session(), &mut fakes, &frames);
    assert_eq!(codes(&output), "Omicc");
    let became: Vec<_> = fakes
        .outcomes()
        .iter()
        .map(|outcome| (outcome.message.as_deref(), outcome.verdict))
        .collect();
    assert_eq!(
        became,
        [
            (Some("one"), Verdict::Accepted),
            (Some("three"), Verdict::Rejected)
        ]
    );
}

#[test]
fn a_client_that_takes_hours_for_its_text_does_not_get_rid_of_the_filter() {
    // Postfix lets a client be silent for five minutes between any two lines, and says nothing meanwhile.
    assert!(session().silence() >= Duration::from_hours(2));
}
