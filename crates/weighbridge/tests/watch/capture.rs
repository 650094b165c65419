//! Captures that the tests write themselves.

use std::path::{Path, PathBuf};

use etherparse::{IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, PacketBuilder};
use weighbridge::mail::watch::{WatchArguments, execute};

use crate::command::{Ran, parsed, ran};
use crate::services::SIGNATURES;

const OWN: &str = "\
[tcp:request]
label = s:unix:Ours:of the site
sig = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0
";
const ETHERNET: u32 = 1;
const COOKED: u32 = 113;
pub(crate) const RAW: u32 = 101;
const COOKED_2: u32 = 276;
const NULL: u32 = 0;

/// What Linux sends behind the header of TCP: `mss 1460,sok,ts,nop,ws 7`.
const LINUX_OPTIONS: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 7,
];

/// 192.0.2.1:4711 to 192.0.2.9:25, nine routers on.
pub(crate) fn syn() -> Vec<u8> {
    let (client, server) = ([192, 0, 2, 1], [192, 0, 2, 9]);
    let mut ip = Ipv4Header::new(0, 55, IpNumber::TCP, client, server).expect("short");
    ip.identification = 0x1234;
    ip.dont_fragment = true;
    let ip = IpHeaders::Ipv4(ip, Ipv4Extensions::default());
    let tcp = PacketBuilder::ip(ip).tcp(4711, 25, 9, 29_200).syn();
    let tcp = tcp.options_raw(&LINUX_OPTIONS).expect("they fit");
    let mut packet = Vec::new();
    tcp.write(&mut packet, &[]).expect("written");
    packet
}

pub(crate) fn pcap(link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link_type] {
        bytes.extend_from_slice(&u32::to_le_bytes(number));
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).expect("short");
        for number in [1_700_000_000, 0, len, len] {
            bytes.extend_from_slice(&u32::to_le_bytes(number));
        }
        bytes.extend_from_slice(frame);
    }
    bytes
}

fn behind(header: &[u8]) -> Vec<u8> {
    [header, &syn()].concat()
}

struct Files {
    _dir: tempfile::TempDir,
    capture: PathBuf,
    signatures: PathBuf,
    own: PathBuf,
    log: PathBuf,
}

fn files(capture: &[u8]) -> Files {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    Files {
        capture: write("capture.pcap", capture),
        signatures: write("p0f.fp", SIGNATURES.as_bytes()),
        own: write("own.fp", OWN.as_bytes()),
        log: dir.path().join("p0f.log"),
        _dir: dir,
    }
}

fn watch(files: &Files, more: &[&str]) -> Ran {
    let text = |path: &Path| path.display().to_string();
    let (capture, signatures) = (text(&files.capture), text(&files.signatures));
    let arguments = [&["-r", capture.as_str(), "-f", signatures.as_str()], more].concat();
    let arguments: WatchArguments = parsed(&arguments);
    ran(|output| execute(&arguments, output))
}

#[test]
fn a_handshake_is_read_through_every_link_layer() {
    let addresses: &[u8] = &[0; 12];
    let ethernet = |kinds: &[u8]| behind(&[addresses, kinds].concat());
    let session = [0x88, 0x64, 0x11, 0, 0, 9, 0, 62, 0, 0x21];
    let frames = [
        (ETHERNET, ethernet(&[8, 0])),
        (ETHERNET, ethernet(&[0x81, 0, 0, 7, 8, 0])),
        (ETHERNET, ethernet(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 8, 0])),
        (ETHERNET, ethernet(&session)),
        (COOKED, behind(&[&[0; 14][..], &[8, 0]].concat())),
        (COOKED_2, behind(&[&[8, 0][..], &[0; 18]].concat())),
        (RAW, syn()),
        (NULL, behind(&[2, 0, 0, 0])),
    ];
    for (link_type, frame) in frames {
        let files = files(&pcap(link_type, &[frame]));
        let ran = watch(&files, &[]);
        assert_eq!(
            ran.out,
            "2023-11-14 22:13:20 192.0.2.1:4711 > 192.0.2.9:25 syn: Linux 3.11 and newer (exact, \
             distance 9) 4:55+9:0:1460:mss*20,7:mss,sok,ts,nop,ws:df,id+:0\n\
             2023-11-14 22:13:20 192.0.2.1:4711 > 192.0.2.9:25   192.0.2.1 link: Ethernet or \
             modem (MTU 1500)\n",
            "link type {link_type}"
        );
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    }
}

#[test]
fn the_log_is_p0f_s_and_parity_leaves_tags_alone() {
    let tagged = behind(&[&[0; 12][..], &[0x81, 0, 0, 7, 8, 0]].concat());
    let files = files(&pcap(ETHERNET, &[tagged]));
    let log = files.log.display().to_string();
    let quiet = |more: &[&str]| watch(&files, &[&["-o", &log, "--quiet"], more].concat());
    assert_eq!(quiet(&["--parity"]).out, "");
    assert_eq!(std::fs::read_to_string(&log).expect("there"), "");
    assert_eq!(quiet(&[]).out, "");
    assert_eq!(
        std::fs::read_to_string(&log).expect("there"),
        "[2023/11/14 22:13:20] mod=syn|cli=192.0.2.1/4711|srv=192.0.2.9/25|subj=cli|os=Linux 3.11 \
         and newer|dist=9|params=none|raw_sig=4:55+9:0:1460:mss*20,7:mss,sok,ts,nop,ws:df,id+:0\n\
         [2023/11/14 22:13:20] mod=mtu|cli=192.0.2.1/4711|srv=192.0.2.9/25|subj=cli|link=Ethernet \
         or modem|raw_mtu=1500\n"
    );
}

#[test]
fn a_site_s_own_signatures_come_first_and_a_count_ends_it() {
    let mut other = syn();
    other[15] = 7;
    let files = files(&pcap(RAW, &[syn(), other]));
    let own = files.own.display().to_string();
    let ran = watch(&files, &["--local", &own, "--json", "-c", "1"]);
    let mut lines = ran.out.lines();
    let first: serde_json::Value =
        serde_json::from_str(lines.next().expect("a line")).expect("JSON");
    assert_eq!(first["os"], "Ours of the site");
    assert_eq!(first["time_us"], 1_700_000_000_000_000_u64);
    assert_eq!(lines.filter(|line| line.contains("\"syn\"")).count(), 0);
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let broken = files(b"no capture");
    let ran = watch(&broken, &[]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.contains("capture.pcap: no pcap or pcapng file"),
        "{}",
        ran.err
    );
    std::fs::write(&broken.signatures, "[tcp:request]\nlabel = x\n").expect("written");
    let ran = watch(&broken, &[]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.err
            .contains("p0f.fp:2:9: expected type:class:name:flavor"),
        "{}",
        ran.err
    );
}
