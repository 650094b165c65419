//! The kernel's own bonding and 802.1Q, which this machine's may not have: in a guest with Debian's.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::guest::{Guest, Machine};
use lab::{clock, requirements};

use super::ends::{FAR, NEAR, rc_conf};
use super::flows::{Echo, Flows, reach};
use super::lacp::{LONGEST_GAP, alternate, best_alternation};
use super::packages::unpacked;
use super::site::{Keeper, Site};

const NAME: &str = "the_kernels_bonding";
const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");
/// In the guest's environment: this program is there to send back what it gets.
const ECHO: &str = "WEIGHBRIDGE_GUEST_ECHO";
/// A loss of carrier may cost no more: bonding looks each 100 ms, and emulation is slow.
const CARRIER_LIMIT: Duration = Duration::from_millis(250);
const TRIES: usize = 8;
/// How long the daemon may take to start, under emulation.
const START: Duration = Duration::from_mins(3);
/// How long it may take until something is seen that the kernel looks for from time to time.
const SETTLE: Duration = Duration::from_mins(1);

/// The guest, its cards `em0` and `em1` at the site's links; nothing where it cannot be had.
fn guest(site: &mut Site) -> Result<Option<Guest>> {
    let parts = unpacked(NAME, "qemu").zip(unpacked(NAME, "kernel"));
    let Some((qemu, kernel)) = parts else {
        return Ok(None);
    };
    let mut machine = Machine::new(&qemu, &kernel)?
        .program(Path::new(BINARY))?
        .program(&std::env::current_exe()?)?
        .file(
            "/etc/passwd",
            "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        );
    for tap in site.end_in_taps()? {
        machine = machine.card(&tap);
    }
    let mut guest = machine.boot(&site.middle, site.run.directory())?;
    guest.run(&format!("ln -s {BINARY} /bin/weighbridge"))?;
    for card in 0..2 {
        guest.run(&format!("ip link set eth{card} name em{card}"))?;
    }
    Ok(Some(guest))
}

/// Puts files into the guest's configuration directory, in place of all that are there.
fn configure(guest: &mut Guest, files: &[(&str, &str)]) -> Result<()> {
    let mut script = "rm -rf /etc/weighbridge; mkdir /etc/weighbridge\n".to_owned();
    for (name, text) in files {
        let file = format!("cat > /etc/weighbridge/{name} <<'END'\n{text}END\n");
        script.push_str(&file);
    }
    guest.run(&script).map(drop)
}

/// Has the guest do what files say: in one go, and then there is nothing left to do.
fn apply(guest: &mut Guest, files: &[(&str, &str)]) -> Result<String> {
    configure(guest, files)?;
    let steps = guest.run("weighbridge links apply")?;
    let again = guest.run("weighbridge links apply && weighbridge links diff")?;
    let nothing = "all is as the files say\n";
    ensure!(again == nothing.repeat(2), "after\n{steps}it did\n{again}");
    Ok(steps)
}

/// A block of `weighbridge ifconfig` without the addresses that the machine has chosen, and without
/// what its cards can do.
fn block(guest: &mut Guest, interface: &str) -> Result<String> {
    let text = guest.run(&format!("weighbridge ifconfig {interface}"))?;
    let own = ["\tether ", "\tinet6 ", "\toptions="];
    let kept = text
        .lines()
        .filter(|line| !own.iter().any(|own| line.starts_with(own)));
    Ok(kept.map(|line| line.to_owned() + "\n").collect())
}

/// Waits until a block ends so.
fn until(guest: &mut Guest, interface: &str, wanted: &str) -> Result<()> {
    let mut text = String::new();
    let is_so = clock::wait_until(SETTLE, || {
        text = block(guest, interface).unwrap_or_else(|error| error.to_string());
        text.ends_with(wanted)
    });
    ensure!(is_so, "{text}");
    Ok(())
}

/// What the plug-in says before its figures, as root and as nobody.
fn checked(guest: &mut Guest) -> Result<(String, String)> {
    let mut told = |command: &str| -> Result<String> {
        let answer = guest.try_run(command)?;
        let (text, _) = answer.text.split_once(" | ").context(answer.text.clone())?;
        Ok(format!("{} {text}", answer.status))
    };
    Ok((
        told("weighbridge check links")?,
        told("su nobody -c 'weighbridge check links'")?,
    ))
}

/// Waits until both are told this.
fn until_checked(guest: &mut Guest, wanted: &str) -> Result<()> {
    let is_so = |(root, nobody): &(String, String)| root == wanted && nobody == wanted;
    let told = clock::wait_until(SETTLE, || checked(guest).as_ref().is_ok_and(is_so));
    ensure!(told, "{:?}, not {wanted}", checked(guest)?);
    Ok(())
}

/// Waits until a block is so.
fn until_block(guest: &mut Guest, interface: &str, wanted: &str) -> Result<()> {
    clock::wait_until(SETTLE, || {
        block(guest, interface).is_ok_and(|text| text == wanted)
    });
    assert_eq!(block(guest, interface)?, wanted);
    Ok(())
}

const ARTICLE: &str = "\
cloned_interfaces=\"lagg0 vlan22\"
ifconfig_em0=\"up\"
ifconfig_em1=\"up\"
ifconfig_lagg0=\"laggproto PROTOCOL laggport em1 laggport em0 192.168.1.5 netmask 255.255.255.0\"
ifconfig_vlan22=\"inet 10.0.22.2 netmask 255.255.255.0 vlan 22 vlandev lagg0\"
defaultrouter=\"192.168.1.1\"
";
const HEAD: &str = "flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n";

fn check_failover(guest: &mut Guest) -> Result<()> {
    let rc_conf = ARTICLE.replace("PROTOCOL", "failover");
    let steps = apply(guest, &[("rc.conf", &rc_conf)])?;
    ensure!(
        steps.starts_with("RTM_NEWLINK lagg0: make a bond, active-backup\n"),
        "{steps}"
    );
    // The module makes one by itself where it is loaded on demand.
    let present = guest.run("ls /sys/class/net")?;
    ensure!(!present.contains("bond0"), "{present}");
    until_block(
        guest,
        "lagg0",
        &format!(
            "lagg0: {HEAD}\tinet 192.168.1.5 netmask 0xffffff00 broadcast 192.168.1.255\n\
             \tmedia: Ethernet autoselect\n\tstatus: active\n\tlaggproto failover\n\
             \tlaggport: em0 flags=0<>\n\tlaggport: em1 flags=5<MASTER,ACTIVE>\n"
        ),
    )?;
    until_block(
        guest,
        "vlan22",
        &format!(
            "vlan22: {HEAD}\tinet 10.0.22.2 netmask 0xffffff00 broadcast 10.0.22.255\n\
             \tmedia: Ethernet autoselect\n\tstatus: active\n\tvlan: 22 parent interface: lagg0\n"
        ),
    )?;
    until_block(
        guest,
        "em0",
        &format!(
            "em0: {HEAD}\tmedia: Ethernet autoselect (1000baseTX <full-duplex>)\n\
             \tstatus: active\n\tlagg: laggdev lagg0\n"
        ),
    )?;
    let good = "0 LINKS OK: lagg0 (active-backup): 2 of 2 links work".to_owned();
    until_checked(guest, &good)?;
    guest.plug(1, false)?;
    until(
        guest,
        "lagg0",
        "\tlaggport: em0 flags=4<ACTIVE>\n\tlaggport: em1 flags=1<MASTER>\n",
    )?;
    let bad = "1 LINKS WARNING: lagg0 (active-backup): 1 of 2 links work, standby em0 in use \
               instead of em1, em1 has no link"
        .to_owned();
    until_checked(guest, &bad)?;
    guest.plug(1, true)
}

/// Other protocols, each in place of the one before.
fn check_static(guest: &mut Guest) -> Result<()> {
    for (protocol, mode, label) in [
        ("loadbalance", "balance-xor", "xor"),
        ("roundrobin", "balance-rr", "round-robin"),
        ("broadcast", "broadcast", "broadcast"),
    ] {
        let rc_conf = ARTICLE.replace("PROTOCOL", protocol);
        let steps = apply(guest, &[("rc.conf", &rc_conf)])?;
        let remade = format!(
            "RTM_DELLINK lagg0: remove, it has other settings\n\
             RTM_NEWLINK lagg0: make a bond, {mode}\n"
        );
        ensure!(steps.starts_with(&remade), "{steps}");
        let wanted = format!(
            "\tlaggproto {protocol}\n\tlaggport: em1 flags=4<ACTIVE>\n\
             \tlaggport: em0 flags=4<ACTIVE>\n"
        );
        until(guest, "lagg0", &wanted)?;
        let good = format!("0 LINKS OK: lagg0 ({label}): 2 of 2 links work");
        until_checked(guest, &good)?;
    }
    until(guest, "vlan22", "\tvlan: 22 parent interface: lagg0\n")?;
    guest.run("ip link del lagg0").map(drop)
}

/// A lagg in a bridge, OpenBSD's trunk with a VLAN, and its aggr.
fn check_others(guest: &mut Guest) -> Result<()> {
    let bridge = "cloned_interfaces=\"lagg0 bridge0\"\nifconfig_em0=\"up\"\nifconfig_em1=\"up\"\n\
                  ifconfig_lagg0=\"laggproto loadbalance laggport em0 laggport em1 up\"\n\
                  ifconfig_bridge0=\"addm lagg0 10.9.9.9/24 up\"\n";
    apply(guest, &[("rc.conf", bridge)])?;
    let member = "broadcast 10.9.9.255\n\tmember: lagg0 flags=3<LEARNING,DISCOVER>\n";
    until(guest, "bridge0", member)?;
    guest.run("ip link del bridge0; ip link del lagg0")?;

    let up = [("hostname.em0", "up\n"), ("hostname.em1", "up\n")];
    let trunk = [
        (
            "hostname.trunk0",
            "trunkproto failover trunkport em0 trunkport em1\ninet 10.1.1.1 255.255.255.0\n",
        ),
        (
            "hostname.vlan5",
            "vlan 5 vlandev trunk0\ninet 10.1.5.1 255.255.255.0\n",
        ),
    ];
    apply(guest, &[&up[..], &trunk].concat())?;
    let ports = "\tlaggport: em1 flags=0<>\n\tlaggport: em0 flags=5<MASTER,ACTIVE>\n";
    until(guest, "trunk0", ports)?;
    until(guest, "vlan5", "\tvlan: 5 parent interface: trunk0\n")?;
    guest.run("ip link del trunk0")?;

    let aggr = "trunkport em0 trunkport em1\nlacpmode active\nlacptimeout slow\n\
                inet 10.1.1.1 255.255.255.0\n";
    apply(guest, &[&up[..], &[("hostname.aggr0", aggr)]].concat())?;
    let text = guest.run("cat /proc/net/bonding/aggr0")?;
    ensure!(text.contains("LACP rate: slow"), "{text}");
    // Nobody of the far ends speaks LACP.
    let mut root = String::new();
    let told = clock::wait_until(SETTLE, || {
        root = checked(guest).map(|(root, _)| root).unwrap_or_default();
        root.contains("2 LINKS CRITICAL") && root.contains("em0 has no LACP partner")
    });
    ensure!(told, "{root}");
    guest.run("ip link del aggr0").map(drop)
}

/// The daemon has the kernel make the lagg and its VLAN, which come up when they have hooks.
fn check_daemon(guest: &mut Guest) -> Result<()> {
    let rc_conf = ARTICLE.replace("PROTOCOL", "failover");
    configure(guest, &[("rc.conf", &rc_conf), ("pf.conf", "pass all\n")])?;
    guest.run("weighbridge run > /tmp/run 2>&1 & echo $! > /tmp/run.pid")?;
    let mut said = String::new();
    let is_ready = clock::wait_until(START, || {
        said = guest.run("cat /tmp/run").unwrap_or_default();
        said.contains("weighbridge: ready") || said.contains("weighbridge: cannot")
    });
    ensure!(
        is_ready && said.contains("filtering lagg0, vlan22"),
        "{said}"
    );
    let claim = guest.run("cat /run/weighbridge/links.filtered.json")?;
    let is_hooked = claim.contains("\"vlan22\": ") && !claim.contains("null");
    ensure!(is_hooked, "{claim}");
    until(guest, "vlan22", "\tvlan: 22 parent interface: lagg0\n")?;
    guest.run("kill $(cat /tmp/run.pid)")?;
    let gone = || {
        guest
            .run("ls /run/weighbridge")
            .is_ok_and(|text| !text.contains("filtered"))
    };
    ensure!(clock::wait_until(SETTLE, gone), "it is claimed for good");
    guest.run("ip link del lagg0").map(drop)
}

/// Bonding in the guest and our lagg on the host find each other.
#[expect(clippy::print_stdout, reason = "figures that a person may want to see")]
fn form(site: &Site, guest: &mut Guest) -> Result<Keeper> {
    let keeper = site.keep(&site.host, &rc_conf("em", NEAR))?;
    let start = clock::now();
    apply(guest, &[("rc.conf", &rc_conf("em", FAR))])?;
    keeper.formed()?;
    println!("formed in {:?}", clock::now() - start);
    let echo = std::env::current_exe()?;
    guest.run(&format!(
        "{ECHO}=1 {} {ECHO_TEST} --exact > /tmp/echo 2>&1 &",
        echo.display()
    ))?;
    reach(&site.host, FAR)?;
    let in_use = "flags=1c<ACTIVE,COLLECTING,DISTRIBUTING>\n";
    let ports = format!("\tlaggproto lacp\n\tlaggport: em1 {in_use}\tlaggport: em0 {in_use}");
    until(guest, "lagg0", &ports)?;
    let good = "0 LINKS OK: lagg0 (IEEE 802.3ad Dynamic link aggregation): 2 of 2 links work";
    until_checked(guest, good)?;
    Ok(keeper)
}

/// The longest gap of any flow when a link loses its carrier, which it then gets back; `carrier`
/// does both.
fn carrier_cut(
    site: &Site,
    keeper: &Keeper,
    mut carrier: impl FnMut(bool) -> Result<()>,
) -> Result<Duration> {
    reach(&site.host, FAR)?;
    let flows = Flows::start(&site.host, FAR)?;
    clock::pause(Duration::from_millis(500));
    carrier(false)?;
    clock::pause(Duration::from_secs(1));
    let cut = flows.stop()?;
    carrier(true)?;
    keeper.formed()?;
    Ok(cut)
}

#[expect(clippy::print_stdout, reason = "figures that a person may want to see")]
fn check_lacp(site: &Site, guest: &mut Guest) -> Result<()> {
    let keeper = form(site, guest)?;
    let mut cut = Duration::MAX;
    for _ in 0..TRIES {
        let carrier = |on| {
            guest.plug(0, on)?;
            site.carrier(0, on)
        };
        cut = cut.min(carrier_cut(site, &keeper, carrier)?);
        if cut < CARRIER_LIMIT {
            break;
        }
    }
    let again = || {
        keeper.formed()?;
        reach(&site.host, FAR)
    };
    let longest = best_alternation(again, || alternate(site, FAR, 4))?;
    println!("carrier {cut:?}, silent, in turn {longest:?}");
    ensure!(cut < CARRIER_LIMIT, "a loss of carrier cost {cut:?}");
    let state = keeper.state()?;
    ensure!(longest <= LONGEST_GAP, "{longest:?}\n{state:#?}");
    Ok(())
}

const ECHO_TEST: &str = "bonding::sends_back_what_it_gets_where_it_is_a_guests";

/// No test but in a guest, where it is what answers.
#[test]
fn sends_back_what_it_gets_where_it_is_a_guests() -> Result<()> {
    if std::env::var_os(ECHO).is_some() {
        let _echo = Echo::start_here()?;
        loop {
            clock::pause(Duration::from_mins(1));
        }
    }
    Ok(())
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
    check_failover(&mut guest)?;
    check_static(&mut guest)?;
    check_others(&mut guest)?;
    check_daemon(&mut guest)?;
    check_lacp(&site, &mut guest)
}
