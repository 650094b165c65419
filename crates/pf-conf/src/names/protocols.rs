//! Protocol names (IANA "Assigned Internet Protocol Numbers", spelled as FreeBSD does).

/// Number and names, the printed one first.
const PROTOCOLS: &[(u8, &[&str])] = &[
    (0, &["ip", "IP"]),
    (1, &["icmp", "ICMP"]),
    (2, &["igmp", "IGMP"]),
    (3, &["ggp", "GGP"]),
    (4, &["ipencap", "IP-ENCAP", "ipip"]),
    (5, &["st2", "ST2"]),
    (6, &["tcp", "TCP"]),
    (7, &["cbt", "CBT"]),
    (8, &["egp", "EGP"]),
    (9, &["igp", "IGP"]),
    (12, &["pup", "PUP"]),
    (16, &["chaos", "CHAOS"]),
    (17, &["udp", "UDP"]),
    (20, &["hmp", "HMP"]),
    (22, &["xns-idp", "XNS-IDP"]),
    (27, &["rdp", "RDP"]),
    (28, &["irtp", "IRTP"]),
    (29, &["iso-tp4", "ISO-TP4"]),
    (33, &["dccp", "DCCP"]),
    (36, &["xtp", "XTP"]),
    (37, &["ddp", "DDP"]),
    (38, &["idpr-cmtp", "IDPR-CMTP"]),
    (41, &["ipv6", "IPV6"]),
    (43, &["ipv6-route", "IPV6-ROUTE"]),
    (44, &["ipv6-frag", "IPV6-FRAG"]),
    (45, &["idrp", "IDRP"]),
    (46, &["rsvp", "RSVP"]),
    (47, &["gre", "GRE"]),
    (50, &["esp", "ESP"]),
    (51, &["ah", "AH"]),
    (54, &["narp", "NARP"]),
    (55, &["mobile", "MOBILE"]),
    (57, &["skip", "SKIP"]),
    (58, &["ipv6-icmp", "IPV6-ICMP", "icmp6"]),
    (59, &["ipv6-nonxt", "IPV6-NONXT"]),
    (60, &["ipv6-opts", "IPV6-OPTS"]),
    (73, &["rspf", "RSPF", "CPHB"]),
    (80, &["iso-ip", "ISO-IP"]),
    (81, &["vmtp", "VMTP"]),
    (88, &["eigrp", "EIGRP"]),
    (89, &["ospf", "OSPFIGP"]),
    (93, &["ax.25", "AX.25"]),
    (94, &["ipip", "IPIP"]),
    (97, &["etherip", "ETHERIP"]),
    (98, &["encap", "ENCAP"]),
    (103, &["pim", "PIM"]),
    (108, &["ipcomp", "IPComp"]),
    (112, &["carp", "CARP", "vrrp"]),
    (115, &["l2tp", "L2TP"]),
    (124, &["isis", "ISIS"]),
    (132, &["sctp", "SCTP"]),
    (133, &["fc", "FC"]),
    (135, &["mobility-header", "Mobility-Header"]),
    (136, &["udplite", "UDPLite"]),
    (137, &["mpls-in-ip", "MPLS-in-IP"]),
    (138, &["manet", "MANET"]),
    (139, &["hip", "HIP"]),
    (140, &["shim6", "SHIM6"]),
    (141, &["wesp", "WESP"]),
    (142, &["rohc", "ROHC"]),
    (240, &["pfsync", "PFSYNC"]),
];

/// The number of a protocol.
pub(crate) fn number(name: &str) -> Option<u8> {
    // `ipip` is 94 in its own right and an alias of 4.
    let canonical = PROTOCOLS.iter().find(|(_, names)| names[0] == name);
    canonical
        .or_else(|| PROTOCOLS.iter().find(|(_, names)| names.contains(&name)))
        .map(|(number, _)| *number)
}

/// The name of a protocol.
pub(crate) fn name(number: u8) -> Option<&'static str> {
    PROTOCOLS
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, names)| names[0])
}

/// All printed names.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|(_, names)| names[0])
}
