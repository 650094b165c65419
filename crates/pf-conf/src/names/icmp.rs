//! ICMP and ICMPv6 type and code names (pf.conf(5), icmp(4), icmp6(4)).

use pf_engine::addr::Family;

const TYPES_V4: &[(&str, u8)] = &[
    ("echorep", 0),
    ("unreach", 3),
    ("squench", 4),
    ("redir", 5),
    ("althost", 6),
    ("echoreq", 8),
    ("routeradv", 9),
    ("routersol", 10),
    ("timex", 11),
    ("paramprob", 12),
    ("timereq", 13),
    ("timerep", 14),
    ("inforeq", 15),
    ("inforep", 16),
    ("maskreq", 17),
    ("maskrep", 18),
    ("trace", 30),
    ("dataconv", 31),
    ("mobredir", 32),
    ("ipv6-where", 33),
    ("ipv6-here", 34),
    ("mobregreq", 35),
    ("mobregrep", 36),
    ("skip", 39),
    ("photuris", 40),
];

const TYPES_V6: &[(&str, u8)] = &[
    ("unreach", 1),
    ("toobig", 2),
    ("timex", 3),
    ("paramprob", 4),
    ("echoreq", 128),
    ("echorep", 129),
    ("groupqry", 130),
    ("listqry", 130),
    ("grouprep", 131),
    ("listenrep", 131),
    ("groupterm", 132),
    ("listendone", 132),
    ("routersol", 133),
    ("routeradv", 134),
    ("neighbrsol", 135),
    ("neighbradv", 136),
    ("redir", 137),
    ("routrrenum", 138),
    ("wrureq", 139),
    ("fqdnreq", 139),
    ("niqry", 139),
    ("wrurep", 140),
    ("fqdnrep", 140),
    ("nirep", 140),
    ("mtraceresp", 200),
    ("mtrace", 201),
];

const CODES_V4: &[(&str, u8, u8)] = &[
    ("net-unr", 3, 0),
    ("host-unr", 3, 1),
    ("proto-unr", 3, 2),
    ("port-unr", 3, 3),
    ("needfrag", 3, 4),
    ("srcfail", 3, 5),
    ("net-unk", 3, 6),
    ("host-unk", 3, 7),
    ("isolate", 3, 8),
    ("net-prohib", 3, 9),
    ("host-prohib", 3, 10),
    ("net-tos", 3, 11),
    ("host-tos", 3, 12),
    ("filter-prohib", 3, 13),
    ("host-preced", 3, 14),
    ("cutoff-preced", 3, 15),
    ("redir-net", 5, 0),
    ("redir-host", 5, 1),
    ("redir-tos-net", 5, 2),
    ("redir-tos-host", 5, 3),
    ("normal-adv", 9, 0),
    ("common-adv", 9, 16),
    ("transit", 11, 0),
    ("reassemb", 11, 1),
    ("badhead", 12, 0),
    ("optmiss", 12, 1),
    ("badlen", 12, 2),
    ("unknown-ind", 40, 1),
    ("auth-fail", 40, 2),
    ("decrypt-fail", 40, 3),
];

const CODES_V6: &[(&str, u8, u8)] = &[
    ("noroute-unr", 1, 0),
    ("admin-unr", 1, 1),
    ("notnbr-unr", 1, 2),
    ("beyond-unr", 1, 2),
    ("addr-unr", 1, 3),
    ("port-unr", 1, 4),
    ("transit", 3, 0),
    ("reassemb", 3, 1),
    ("badhead", 4, 0),
    ("nxthdr", 4, 1),
    ("redironlink", 137, 0),
    ("redirrouter", 137, 1),
];

const fn types(family: Family) -> &'static [(&'static str, u8)] {
    match family {
        Family::Inet => TYPES_V4,
        Family::Inet6 => TYPES_V6,
    }
}

const fn codes(family: Family) -> &'static [(&'static str, u8, u8)] {
    match family {
        Family::Inet => CODES_V4,
        Family::Inet6 => CODES_V6,
    }
}

/// Type of "destination unreachable", what `return-icmp` sends.
pub(crate) const fn unreachable(family: Family) -> u8 {
    match family {
        Family::Inet => 3,
        Family::Inet6 => 1,
    }
}

/// Code of "port unreachable".
pub(crate) const fn port_unreachable(family: Family) -> u8 {
    match family {
        Family::Inet => 3,
        Family::Inet6 => 4,
    }
}

pub(crate) fn kind_by_name(family: Family, name: &str) -> Option<u8> {
    let found = types(family).iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| *kind)
}

pub(crate) fn kind_name(family: Family, kind: u8) -> Option<&'static str> {
    let found = types(family).iter().find(|(_, known)| *known == kind);
    found.map(|(name, _)| *name)
}

pub(crate) fn code_by_name(family: Family, kind: u8, name: &str) -> Option<u8> {
    let mut known = codes(family).iter();
    known
        .find(|(n, k, _)| *n == name && *k == kind)
        .map(|(_, _, code)| *code)
}

pub(crate) fn code_name(family: Family, kind: u8, code: u8) -> Option<&'static str> {
    let mut known = codes(family).iter();
    known
        .find(|(_, k, c)| *k == kind && *c == code)
        .map(|(name, _, _)| *name)
}

pub(crate) fn kind_names(family: Family) -> impl Iterator<Item = &'static str> {
    types(family).iter().map(|(name, _)| *name)
}

pub(crate) fn code_names(family: Family, kind: u8) -> impl Iterator<Item = &'static str> {
    codes(family)
        .iter()
        .filter(move |(_, k, _)| *k == kind)
        .map(|(name, _, _)| *name)
}
