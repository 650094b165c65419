//! Interfaces that vanish and return while the daemon runs.

use anyhow::Result;
use lab::service::OTHER;
use lab::{Configuration, Role, clock};

use crate::support::{Bench, PATIENCE, UNSHAPED, with_daemon};

#[test]
fn the_dsl_port_vanishes_and_returns_and_the_t1_never_notices() -> Result<()> {
    with_daemon(
        "em0 vanishes",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let (inside, modem) = (
                bench.lab.namespace(Role::Box),
                bench.lab.namespace(Role::Modem1),
            );
            assert_eq!(bench.way_of(Role::H99, 22)?, bench.dsl(1));
            let mut open = bench
                .lab
                .host(Role::H50)
                .line_client(Bench::server(OTHER))?;
            inside.ip("link del dev em0")?;
            open.exchange("em0 is gone")?;
            assert_eq!(bench.way_of(Role::H50, 22)?, Bench::t1(Role::H50));

            modem.ip_batch(&[
                format!(
                    "link add name lan type veth peer name em0 netns {}",
                    inside.name()
                ),
                "link set dev lan up".to_owned(),
                "address add 192.168.0.1/16 dev lan".to_owned(),
            ])?;
            let back = clock::wait_until(PATIENCE, || {
                inside
                    .ip("-o address show dev em0")
                    .is_ok_and(|text| text.contains("192.168.1.64/16"))
            });
            assert!(back, "em0 has its address again");
            assert_eq!(bench.way_of(Role::H99, 22)?, bench.dsl(1));
            open.exchange("em0 is back")?;
            let log = bench.daemon.log();
            assert!(log.contains("em0"), "the log tells of it: {log}");
            Ok(())
        },
    )
}

#[test]
fn a_bridge_port_vanishes_and_returns_to_its_bridge() -> Result<()> {
    with_daemon(
        "em1 vanishes",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let (inside, switch) = (
                bench.lab.namespace(Role::Box),
                bench.lab.namespace(Role::Switch),
            );
            inside.ip("link del dev em1")?;
            switch.ip_batch(&[
                format!(
                    "link add name uplink type veth peer name em1 netns {}",
                    inside.name()
                ),
                "link set dev uplink master sw0 up".to_owned(),
            ])?;
            let back = clock::wait_until(PATIENCE, || {
                inside
                    .ip("-o link show dev em1")
                    .is_ok_and(|t| t.contains("master") && t.contains("UP"))
            });
            assert!(back, "em1 is in its bridge again");
            assert_eq!(bench.way_of(Role::H99, 22)?, bench.dsl(1));
            assert_eq!(bench.way_of(Role::H50, 22)?, Bench::t1(Role::H50));
            Ok(())
        },
    )
}

#[test]
fn a_stopped_daemon_takes_its_hooks_and_its_device_along_and_the_bridge_goes_on() -> Result<()> {
    with_daemon("stop", UNSHAPED, &Configuration::article(true), |bench| {
        let inside = std::sync::Arc::clone(bench.lab.namespace(Role::Box));
        let links = inside.ip("-o link")?;
        assert!(links.contains("weighbridge0"), "{links}");
        assert!(bench.daemon.stop()?.success());
        let links = inside.ip("-o link")?;
        assert!(!links.contains("weighbridge0"), "{links}");
        assert_eq!(bench.way_of(Role::H99, 22)?, Bench::t1(Role::H99));
        // It starts again over what it left, and with_daemon stops that one.
        bench.daemon = lab::Weighbridge::start(
            &bench.lab,
            std::path::Path::new(crate::support::BINARY),
            &Configuration::article(true),
        )?;
        assert_eq!(bench.way_of(Role::H99, 22)?, bench.dsl(1));
        Ok(())
    })
}
