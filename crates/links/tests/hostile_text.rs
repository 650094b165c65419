//! Start-up files of random text: an answer, never a panic, and errors that point into the file.

use proptest::prelude::*;

/// What an `rc.conf` is made of, to be put together at random.
const WORDS: &[&str] = &[
    "cloned_interfaces=",
    "ifconfig_lagg0=",
    "ifconfig_em0=",
    "ifconfig_em0_alias0=",
    "vlans_em0=",
    "create_args_v=",
    "ipv4_addrs_em0=",
    "defaultrouter=",
    "static_routes=",
    "route_a=",
    "\"",
    "'",
    "\n",
    "\n",
    "\\\n",
    " ",
    " ",
    "$",
    "${",
    "}",
    "em0",
    "lagg0",
    "vlan1",
    "bridge0",
    "laggport ",
    "laggproto lacp ",
    "vlan 22 ",
    "vlandev lagg0 ",
    "10.0.0.1/24 ",
    "10.0.0.1-9/24",
    "addm em0 ",
    "inet6 2001:db8::1 ",
    "netmask ",
    "255.255.255.0 ",
    "alias ",
    "-net ",
    "a",
    "101 v",
    "é",
    "#",
];

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_place_inside_it(text in "[ -~\n\t#\"!/:é]{0,400}") {
        let lines = u32::try_from(text.lines().count()).expect("short");
        for errors in [
            links::hostname_if::parse("em0", &text).err(),
            links::bridgename::parse("bridge0", &text).err(),
            links::mygate::parse(&text).err(),
            links::sysctl::parse(&text).err(),
        ].into_iter().flatten() {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(error.line >= 1 && error.line <= lines, "{error}");
                prop_assert!(error.column >= 1);
            }
        }
    }

    #[test]
    fn any_rc_conf_is_read_or_refused_with_a_place_inside_it(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..60)
    ) {
        let text = words.concat();
        let lines = u32::try_from(text.lines().count()).expect("short") + 1;
        match links::rcconf::parse(&text) {
            Ok(read) => {
                let _ = links::check(&read.links);
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(error.line >= 1 && error.line <= lines, "{error}");
                }
            }
        }
    }

    #[test]
    fn addresses_survive_the_round_trip(a in any::<[u8; 4]>(), len in 0u8..=32) {
        let address = std::net::Ipv4Addr::from(a);
        let read = links::hostname_if::parse("em0", &format!("inet {address}/{len} NONE")).expect("valid");
        prop_assert_eq!(read.addresses[0].address, std::net::IpAddr::V4(address));
        prop_assert_eq!(read.addresses[0].prefix_len, len);
    }
}
