//! The kernel's own bonding and 802.1Q, which this machine's may not have: in a guest with Debian's.

use std::path::Path;

use anyhow::{Result, ensure};
use lab::guest::{Guest, Machine};
use lab::requirements;

use super::packages::unpacked;
use super::site::Site;

const NAME: &str = "the_kernels_bonding";
const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");

/// The guest, its cards `em0` and `em1` at the site's links; nothing where it cannot be had.
fn guest(site: &mut Site) -> Result<Option<Guest>> {
    let parts = unpacked(NAME, "qemu").zip(unpacked(NAME, "kernel"));
    let Some((qemu, kernel)) = parts else {
        return Ok(None);
    };
    let mut machine = Machine::new(&qemu, &kernel)?.program(Path::new(BINARY))?;
    for tap in site.end_in_taps()? {
        machine = machine.card(&tap);
    }
    let mut guest = machine.boot(&site.middle, site.run.directory())?;
    guest.run(&format!(
        "mkdir -p /usr/bin; ln -s {BINARY} /usr/bin/weighbridge"
    ))?;
    for card in 0..2 {
        guest.run(&format!("ip link set eth{card} name em{card}"))?;
    }
    Ok(Some(guest))
}

#[test]
fn the_kernels_bonding_is_what_files_ask_for_and_a_partner_of_our_lagg() -> Result<()> {
    if requirements::skip_test(NAME) {
        return Ok(());
    }
    let mut site = Site::new("em")?;
    let Some(mut guest) = guest(&mut site)? else {
        return Ok(());
    };
    let release = guest.run("uname -r; cat /proc/uptime")?;
    eprintln!("{release}");
    ensure!(release.contains("amd64"), "{release}");
    Ok(())
}
