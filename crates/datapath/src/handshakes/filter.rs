//! The filter in classic BPF (`linux/filter.h`): every SYN and SYN+ACK, and each bare ACK that
//! comes in, of which the first of a connection tells the round trip.
//!
//! It reads IPv4 and IPv6, bare, behind up to two VLAN tags and in `PPPoE`. A packet with extension
//! headers of IPv6 passes whatever it carries; who asked looks closer.

use crate::sys::packet::Instruction;

/// Load into A: a word, half-word, byte at X + k; a word at k.
const LDW_ABS: u16 = 0x20;
const LDH_IND: u16 = 0x48;
const LDB_IND: u16 = 0x50;
/// Load A or X from scratch memory, store A.
const LD_MEM: u16 = 0x60;
const LDX_MEM: u16 = 0x61;
const ST: u16 = 0x02;
/// Load a constant into X.
const LDX_IMM: u16 = 0x01;
/// Arithmetic on A: with a constant, with X.
const ADD_K: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const SUB_X: u16 = 0x1c;
const AND_K: u16 = 0x54;
const LSH_K: u16 = 0x64;
const RSH_K: u16 = 0x74;
/// X = A; A = X.
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
/// Jumps: equal to a constant, equal to X, a bit set; the verdict.
const JEQ_K: u16 = 0x15;
const JEQ_X: u16 = 0x1d;
const JSET_K: u16 = 0x45;
const RET_K: u16 = 0x06;

/// Offsets at which the kernel tells of the packet (`SKF_AD_OFF` + `SKF_AD_PROTOCOL`,
/// `SKF_AD_PKTTYPE`).
const PROTOCOL: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = 0xffff_f004;
const OUTGOING: u32 = 4;

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TAGS: [u32; 2] = [0x8100, 0x88a8];
const PPPOE: u32 = 0x8864;
const PPP_IPV4: u32 = 0x0021;
const PPP_IPV6: u32 = 0x0057;
const TCP: u32 = 6;
/// Hop-by-hop options, routing, fragment, destination options.
const EXTENSIONS: [u32; 4] = [0, 43, 44, 60];
/// More fragments, or an offset.
const FRAGMENT: u32 = 0x3fff;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// Scratch memory: length of the TCP segment.
const SEGMENT: u32 = 0;
/// Scratch memory: length of the IP header.
const HEADER: u32 = 1;
/// Scratch memory: where the TCP segment begins.
const REST: u32 = 2;

/// Bytes of an accepted packet that are kept.
const WHOLE: u32 = 0x0004_0000;

/// Where a jump leads.
type Label = &'static str;

/// The next instruction.
const NEXT: Label = "";
const IPV4_AT_X: Label = "ipv4";
const IPV6_AT_X: Label = "ipv6";
const PPPOE_AT_X: Label = "pppoe";
const SIX_TCP: Label = "ipv6 with tcp";
const TCP_AT_X: Label = "tcp";
const ACCEPT: Label = "accept";
const DROP: Label = "drop";
/// 802.1ad allows two tags.
const BEHIND: [Label; 2] = ["behind one tag", "behind two tags"];

enum Line {
    Label(Label),
    Do(u16, u32),
    If(u16, u32, Label, Label),
}

use Line::{Do, If};

/// The instructions.
pub(super) fn program() -> Vec<Instruction> {
    let mut lines = vec![Do(LDX_IMM, 0), Do(LDW_ABS, PROTOCOL)];
    for behind in BEHIND {
        what_follows(&mut lines);
        for tag in TAGS {
            lines.push(If(JEQ_K, tag, behind, NEXT));
        }
        lines.extend([Do(RET_K, 0), Line::Label(behind), Do(LDH_IND, 2)]);
        // The type is kept in scratch memory while X moves behind the tag.
        lines.extend([Do(ST, SEGMENT), Do(TXA, 0), Do(ADD_K, 4), Do(TAX, 0)]);
        lines.push(Do(LD_MEM, SEGMENT));
    }
    what_follows(&mut lines);
    lines.push(Do(RET_K, 0));
    pppoe(&mut lines);
    ipv4(&mut lines);
    ipv6(&mut lines);
    tcp(&mut lines);
    assembled(&lines)
}

/// By the Ethernet type in A of what is at X.
fn what_follows(lines: &mut Vec<Line>) {
    lines.extend([
        If(JEQ_K, IPV4, IPV4_AT_X, NEXT),
        If(JEQ_K, IPV6, IPV6_AT_X, NEXT),
        If(JEQ_K, PPPOE, PPPOE_AT_X, NEXT),
    ]);
}

fn pppoe(lines: &mut Vec<Line>) {
    lines.extend([
        Line::Label(PPPOE_AT_X),
        Do(LDH_IND, 6),
        Do(ST, SEGMENT),
        Do(TXA, 0),
        Do(ADD_K, 8),
        Do(TAX, 0),
        Do(LD_MEM, SEGMENT),
        If(JEQ_K, PPP_IPV4, IPV4_AT_X, NEXT),
        If(JEQ_K, PPP_IPV6, IPV6_AT_X, DROP),
    ]);
}

fn ipv4(lines: &mut Vec<Line>) {
    lines.extend([
        Line::Label(IPV4_AT_X),
        Do(LDB_IND, 9),
        If(JEQ_K, TCP, NEXT, DROP),
        Do(LDH_IND, 6),
        If(JSET_K, FRAGMENT, DROP, NEXT),
        Do(LDH_IND, 2),
        Do(ST, SEGMENT),
        Do(LDB_IND, 0),
        Do(AND_K, 0x0f),
        Do(LSH_K, 2),
        Do(ST, HEADER),
        // X moves behind the header, then the header's length is taken off the whole.
        Do(ADD_X, 0),
        Do(TAX, 0),
        Do(ST, REST),
        Do(LDX_MEM, HEADER),
        Do(LD_MEM, SEGMENT),
        Do(SUB_X, 0),
        Do(ST, SEGMENT),
        Do(LDX_MEM, REST),
        If(JEQ_K, 0, DROP, TCP_AT_X),
    ]);
}

fn ipv6(lines: &mut Vec<Line>) {
    lines.extend([
        Line::Label(IPV6_AT_X),
        Do(LDB_IND, 6),
        If(JEQ_K, TCP, SIX_TCP, NEXT),
    ]);
    for extension in EXTENSIONS {
        lines.push(If(JEQ_K, extension, ACCEPT, NEXT));
    }
    lines.extend([
        Do(RET_K, 0),
        Line::Label(SIX_TCP),
        Do(LDH_IND, 4),
        Do(ST, SEGMENT),
        Do(TXA, 0),
        Do(ADD_K, 40),
        Do(TAX, 0),
    ]);
}

/// The segment at X, of the length in scratch memory.
fn tcp(lines: &mut Vec<Line>) {
    lines.extend([
        Line::Label(TCP_AT_X),
        Do(LDB_IND, 13),
        If(JSET_K, SYN, ACCEPT, NEXT),
        Do(AND_K, 0x3f),
        If(JEQ_K, ACK, NEXT, DROP),
        Do(LDB_IND, 12),
        Do(AND_K, 0xf0),
        Do(RSH_K, 2),
        Do(TAX, 0),
        Do(LD_MEM, SEGMENT),
        If(JEQ_X, 0, NEXT, DROP),
        Do(LDW_ABS, PACKET_TYPE),
        If(JEQ_K, OUTGOING, DROP, ACCEPT),
        Line::Label(ACCEPT),
        Do(RET_K, WHOLE),
        Line::Label(DROP),
        Do(RET_K, 0),
    ]);
}

/// Puts distances in the place of labels. All lead forward, as classic BPF wants it.
fn assembled(lines: &[Line]) -> Vec<Instruction> {
    let is_code = |line: &&Line| !matches!(line, Line::Label(_));
    let place = |label: Label| {
        let before = lines
            .iter()
            .take_while(|line| !matches!(line, Line::Label(known) if *known == label));
        before.filter(is_code).count()
    };
    let distance = |from: usize, label: Label| {
        let to = if label == NEXT {
            from + 1
        } else {
            place(label)
        };
        u8::try_from(to - from - 1).unwrap_or(u8::MAX)
    };
    let code = lines.iter().filter(is_code).enumerate();
    code.filter_map(|(at, line)| match *line {
        Line::Label(_) => None,
        Do(code, k) => Some((code, 0, 0, k)),
        If(code, k, then, or) => Some((code, distance(at, then), distance(at, or), k)),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u32 = 0;
    /// From 192.0.2.1 to 192.0.2.9, TCP, 40 bytes.
    const IP: [u8; 20] = [
        0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9,
    ];

    /// What the kernel does with a program.
    struct Machine<'p> {
        packet: &'p [u8],
        protocol: u32,
        kind: u32,
        a: u32,
        x: u32,
        memory: [u32; 16],
    }

    impl Machine<'_> {
        fn load(&self, at: u32, bytes: usize) -> Option<u32> {
            match at {
                PROTOCOL => return Some(self.protocol),
                PACKET_TYPE => return Some(self.kind),
                _ => {}
            }
            let at = at as usize;
            let field = self.packet.get(at..at + bytes)?;
            Some(
                field
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
            )
        }

        fn run(&mut self, program: &[Instruction]) -> u32 {
            let mut at = 0;
            loop {
                let (code, then, or, k) = program[at];
                at += 1;
                let jump = |holds: bool| usize::from(if holds { then } else { or });
                match code {
                    RET_K => return k,
                    JEQ_K => at += jump(self.a == k),
                    JEQ_X => at += jump(self.a == self.x),
                    JSET_K => at += jump(self.a & k != 0),
                    _ => {
                        if self.step(code, k).is_none() {
                            return 0;
                        }
                    }
                }
            }
        }

        fn step(&mut self, code: u16, k: u32) -> Option<()> {
            match code {
                LDW_ABS => self.a = self.load(k, 4)?,
                LDH_IND => self.a = self.load(self.x + k, 2)?,
                LDB_IND => self.a = self.load(self.x + k, 1)?,
                LD_MEM => self.a = self.memory[k as usize],
                LDX_MEM => self.x = self.memory[k as usize],
                ST => self.memory[k as usize] = self.a,
                LDX_IMM => self.x = k,
                ADD_K => self.a = self.a.wrapping_add(k),
                ADD_X => self.a = self.a.wrapping_add(self.x),
                SUB_X => self.a = self.a.wrapping_sub(self.x),
                AND_K => self.a &= k,
                LSH_K => self.a <<= k,
                RSH_K => self.a >>= k,
                TAX => self.x = self.a,
                TXA => self.a = self.x,
                other => panic!("instruction {other:#x}"),
            }
            Some(())
        }
    }

    fn passes(protocol: u32, kind: u32, parts: &[&[u8]]) -> bool {
        let packet = parts.concat();
        let mut machine = Machine {
            packet: &packet,
            protocol,
            kind,
            a: 0,
            x: 0,
            memory: [0; 16],
        };
        machine.run(&program()) != 0
    }

    fn tcp(flags: u8) -> [u8; 20] {
        let mut header = [0; 20];
        header[12] = 5 << 4;
        header[13] = flags;
        header
    }

    fn ipv6(next: u8, payload: u8) -> [u8; 40] {
        let mut header = [0; 40];
        header[0] = 0x60;
        header[5] = payload;
        header[6] = next;
        header
    }

    #[test]
    fn syns_pass_both_ways_and_bare_acks_only_in() {
        let out = OUTGOING;
        for (flags, inbound, outbound) in [
            (0x02, true, true),
            (0x12, true, true),
            (0x10, true, false),
            (0x18, false, false),
            (0x11, false, false),
            (0x04, false, false),
            (0xc2, true, true),
        ] {
            let six = ipv6(6, 20);
            assert_eq!(
                passes(IPV4, HOST, &[&IP, &tcp(flags)]),
                inbound,
                "{flags:#x}"
            );
            assert_eq!(
                passes(IPV4, out, &[&IP, &tcp(flags)]),
                outbound,
                "{flags:#x}"
            );
            assert_eq!(
                passes(IPV6, HOST, &[&six, &tcp(flags)]),
                inbound,
                "{flags:#x}"
            );
            assert_eq!(
                passes(IPV6, out, &[&six, &tcp(flags)]),
                outbound,
                "{flags:#x}"
            );
        }
    }

    #[test]
    fn an_ack_with_data_does_not_pass() {
        let mut longer = IP;
        longer[3] = 41;
        assert!(!passes(IPV4, HOST, &[&longer, &tcp(0x10), &[0]]));
        assert!(!passes(IPV6, HOST, &[&ipv6(6, 21), &tcp(0x10), &[0]]));
        // Padding of the link is no data.
        assert!(passes(IPV4, HOST, &[&IP, &tcp(0x10), &[0; 6]]));
    }

    #[test]
    fn ip_options_are_passed_over() {
        let mut header = IP;
        header[0] = 0x46;
        header[3] = 44;
        let nops = [1; 4];
        assert!(passes(IPV4, HOST, &[&header, &nops, &tcp(0x02)]));
        assert!(passes(IPV4, HOST, &[&header, &nops, &tcp(0x10)]));
        assert!(!passes(IPV4, HOST, &[&header, &nops, &tcp(0x04)]));
    }

    #[test]
    fn tags_and_pppoe_are_looked_behind() {
        let tag = |kind: [u8; 2]| [0, 7, kind[0], kind[1]];
        let syn = tcp(0x02);
        assert!(passes(0x8100, HOST, &[&tag([8, 0]), &IP, &syn]));
        let two: &[&[u8]] = &[&tag([0x81, 0]), &tag([8, 0]), &IP, &syn];
        assert!(passes(0x88a8, HOST, two));
        let session = [0x11, 0, 0, 9, 0, 42, 0, 0x21];
        assert!(passes(PPPOE, HOST, &[&session, &IP, &syn]));
        assert!(passes(
            0x8100,
            HOST,
            &[&tag([0x88, 0x64]), &session, &IP, &syn]
        ));
        assert!(!passes(0x8100, HOST, &[&tag([8, 6]), &IP, &syn]));
        assert!(!passes(0x8100, HOST, &[&tag([8, 0]), &IP, &tcp(0x04)]));
    }

    #[test]
    fn other_protocols_fragments_and_stumps_do_not_pass() {
        let mut udp = IP;
        udp[9] = 17;
        assert!(!passes(IPV4, HOST, &[&udp, &tcp(0x02)]));
        let mut fragment = IP;
        fragment[6] = 0x20;
        assert!(!passes(IPV4, HOST, &[&fragment, &tcp(0x02)]));
        assert!(!passes(0x0806, HOST, &[&IP, &tcp(0x02)]));
        assert!(!passes(IPV4, HOST, &[&IP]));
        assert!(!passes(IPV6, HOST, &[&ipv6(58, 20), &tcp(0x02)]));
        assert!(passes(
            IPV6,
            HOST,
            &[&ipv6(0, 28), &[6, 0, 0, 0, 0, 0, 0, 0], &tcp(4)]
        ));
    }
}
