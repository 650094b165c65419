//! Start-up files of random text: an answer, never a panic, and errors that point into the file.

use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_place_inside_it(text in "[ -~\n\t#\"!/:é]{0,400}") {
        let lines = u32::try_from(text.lines().count()).expect("short");
        for errors in [
            links::hostname_if::parse("em0", &text).err(),
            links::bridgename::parse("bridge0", &text).err(),
        ].into_iter().flatten() {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(error.line >= 1 && error.line <= lines, "{error}");
                prop_assert!(error.column >= 1);
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
