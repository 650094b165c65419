use super::*;

/// A pcap file of two packets: `abcd` whole, and 2 of the 9 bytes of another.
fn pcap(little: bool, nanoseconds: bool) -> Vec<u8> {
    let number = |value: u32| {
        if little {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        }
    };
    let magic = if nanoseconds {
        0xa1b2_3c4d
    } else {
        0xa1b2_c3d4
    };
    let mut file = Vec::new();
    for value in [magic, 0x0002_0004, 0, 0, 65_535, 101] {
        file.extend(number(value));
    }
    for (fraction, bytes, length) in [(5, "abcd", 4), (7, "xy", 9)] {
        let captured = u32::try_from(bytes.len()).expect("short");
        for value in [1_700_000_000, fraction, captured, length] {
            file.extend(number(value));
        }
        file.extend(bytes.as_bytes());
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(12 + body.len()).expect("short").to_le_bytes();
    [&kind.to_le_bytes(), len.as_slice(), body, &len].concat()
}

fn section() -> Vec<u8> {
    let body = [
        0x1a2b_3c4d_u32.to_le_bytes(),
        [1, 0, 0, 0],
        [0xff; 4],
        [0xff; 4],
    ];
    block(0x0a0d_0d0a, &body.concat())
}

/// Link type 101, and options.
fn interface(options: &[u8]) -> Vec<u8> {
    let fields = [101, 0, 0, 0, 0xff, 0xff, 0, 0];
    block(1, &[&fields, options].concat())
}

fn packet(high: u32, low: u32, bytes: [u8; 4], options: &[u8]) -> Vec<u8> {
    let fields = [0, high, low, 4, 9].map(u32::to_le_bytes).concat();
    block(6, &[fields.as_slice(), &bytes, options].concat())
}

fn all(file: &[u8]) -> Result<Vec<Frame>, CaptureError> {
    let mut capture = Capture::open(file)?;
    let mut frames = Vec::new();
    let mut frame = Frame::default();
    while capture.next(&mut frame)? {
        frames.push(frame.clone());
    }
    Ok(frames)
}

fn refused(file: &[u8]) -> String {
    all(file).expect_err("refused").to_string()
}

#[test]
fn pcap_files_of_all_four_kinds_are_read() {
    for (little, nanoseconds) in [(true, false), (true, true), (false, false), (false, true)] {
        let frames = all(&pcap(little, nanoseconds)).expect("read");
        let unit = if nanoseconds { 1 } else { 1_000 };
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].time, Duration::new(1_700_000_000, 5 * unit));
        assert_eq!(
            (frames[0].bytes.as_slice(), frames[0].length),
            (&b"abcd"[..], 4)
        );
        assert_eq!(
            (frames[1].bytes.as_slice(), frames[1].length),
            (&b"xy"[..], 9)
        );
        assert_eq!(frames[1].link_type, 101);
    }
}

#[test]
fn a_capture_that_is_cut_off_is_told_with_the_packet_s_number() {
    let file = pcap(true, false);
    assert_eq!(refused(&file[..file.len() - 1]), "cut off within packet 2");
    assert_eq!(refused(&file[..24 + 16 + 2]), "cut off within packet 1");
    assert_eq!(refused(&file[..24 + 9]), "cut off within packet 1");
    assert_eq!(all(&file[..24]).expect("no packet").len(), 0);
}

#[test]
fn what_is_no_capture_is_refused() {
    assert_eq!(refused(b""), "no pcap or pcapng file");
    assert_eq!(refused(b"pass in all\n"), "no pcap or pcapng file");
    assert_eq!(refused(&pcap(true, false)[..20]), "no pcap or pcapng file");
    assert!(refused(&[0x1f, 0x8b, 8, 0, 0]).starts_with("compressed: unpack it first"));
}

#[test]
fn a_record_larger_than_any_packet_is_refused_without_making_room_for_it() {
    let mut file = pcap(true, false);
    file[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let wanted = "broken at packet 1: larger than 262144 bytes";
    assert_eq!(refused(&file), wanted);
}

#[test]
fn pcapng_files_tell_time_and_direction_and_hide_other_blocks() {
    let nanoseconds = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let outgoing = [2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let file = [
        section(),
        interface(&nanoseconds),
        block(5, &[7; 40]),
        packet(1, 5, *b"abcd", &outgoing),
        block(3, &[&4_u32.to_le_bytes(), &b"wxyz"[..]].concat()),
        section(),
        interface(&[]),
        packet(0, 1_500_000, *b"efgh", &[]),
    ]
    .concat();
    let frames = all(&file).expect("read");
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[0].time, Duration::from_nanos((1 << 32) + 5));
    assert_eq!((frames[0].outgoing, frames[0].length), (Some(true), 9));
    assert_eq!(frames[1].bytes, b"wxyz");
    assert_eq!((frames[1].time, frames[1].outgoing), (frames[0].time, None));
    assert_eq!(frames[2].time, Duration::from_millis(1_500));
    assert_eq!((frames[2].outgoing, frames[2].link_type), (None, 101));
}

#[test]
fn broken_blocks_are_told_and_nothing_panics_wherever_a_file_ends() {
    let whole = [section(), interface(&[]), packet(0, 1, *b"abcd", &[])].concat();
    for end in section().len() + 1..whole.len() {
        let error = all(&whole[..end]);
        let between = end == section().len() + interface(&[]).len();
        assert_eq!(error.is_ok(), between, "at {end}");
    }
    let nobody = [section(), packet(0, 1, *b"abcd", &[])].concat();
    assert_eq!(refused(&nobody), "broken at packet 1: its block");
    let mut odd = whole.clone();
    odd[section().len() + 4] = 13;
    assert_eq!(refused(&odd), "broken at packet 1: the length of its block");
    let endless = [9, 0, 1, 0, 200, 0, 0, 0];
    let file = [section(), interface(&endless)].concat();
    assert_eq!(
        refused(&file),
        "broken at packet 1: the interface before it"
    );
}

#[test]
fn any_bytes_are_read_to_an_end() {
    for seed in 0..500 {
        let mut file = [section(), interface(&[]), packet(0, 1, *b"abcd", &[])].concat();
        for (at, value) in changes(seed, file.len()) {
            file[at] = value;
        }
        let _ = all(&file);
    }
}

/// A few bytes to change, by a seed.
fn changes(seed: u64, len: usize) -> Vec<(usize, u8)> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut change = |_| {
        let at = usize::try_from(draw() % len as u64).unwrap_or(0);
        (at, draw().to_le_bytes()[0])
    };
    (0..4).map(&mut change).collect()
}
