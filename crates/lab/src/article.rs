//! The article's own files, as printed, and the one change it tells its readers to make.

/// `hostname.fxp0`: the port to the Cisco.
pub const HOSTNAME_FXP0: &str = include_str!("../article/hostname.fxp0");
/// `hostname.em1`: the port to the switch.
pub const HOSTNAME_EM1: &str = include_str!("../article/hostname.em1");
/// `hostname.em0`: the port to the DSL modem.
pub const HOSTNAME_EM0: &str = include_str!("../article/hostname.em0");
/// `bridgename.bridge0`.
pub const BRIDGENAME_BRIDGE0: &str = include_str!("../article/bridgename.bridge0");
/// `pf.conf` as printed: DSL is off.
pub const PF_CONF: &str = include_str!("../article/pf.conf");

/// The dialect of its day.
pub const WEIGHBRIDGE_TOML: &str = "dialect = \"openbsd3\"\n";

const DSL_OFF: &str = "dsl_enable = \"#\"";
const DSL_ON: &str = "dsl_enable = \"\"";

/// The article's `pf.conf` with DSL on or off.
#[must_use]
pub fn pf_conf(dsl: bool) -> String {
    if dsl {
        PF_CONF.replace(DSL_OFF, DSL_ON)
    } else {
        PF_CONF.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switching_dsl_on_changes_one_line_and_nothing_else() {
        let (off, on) = (pf_conf(false), pf_conf(true));
        let changed: Vec<_> = off
            .lines()
            .zip(on.lines())
            .filter(|(a, b)| a != b)
            .collect();
        assert_eq!(changed, [("dsl_enable = \"#\" ", "dsl_enable = \"\" ")]);
        assert_eq!(off.lines().count(), on.lines().count());
    }
}
