//! Connections that stay: through reloads, forged segments, restarts and, once their states are
//! written down, crashes.

use std::time::Instant;

use anyhow::Context;

use super::traffic::{line_client, line_target, random_line};
use super::world::{Session, Target, World, between};
use crate::service::PseudoRandom;
use crate::{LineClient, Role, clock};

/// Milliseconds that one lives.
const LIFE: (u64, u64) = (5_000, 90_000);
/// Milliseconds between two lines.
const REST: (u64, u64) = (200, 1_200);

struct Held<'a> {
    world: &'a World,
    client: LineClient,
    target: Target,
    session: Session,
    began: Instant,
    until: Instant,
}

impl<'a> Held<'a> {
    fn open(world: &'a World, random: &mut PseudoRandom) -> anyhow::Result<Option<Self>> {
        let target = line_target(random);
        let (began, reloads) = (clock::now(), world.reloads());
        let opened = line_client(world, target.role, target.server);
        let checked = opened.and_then(|client| {
            world.check_way(&target, reloads, client.server_saw())?;
            Ok(client)
        });
        let client = match checked.with_context(|| describe(&target)) {
            Ok(client) => client,
            Err(error) => {
                world
                    .ledger
                    .judge("session", Some(target.way), began, Err(error));
                return Ok(None);
            }
        };
        let session = Session {
            client: client.local_address()?,
            server: target.server,
            seen: client.server_saw(),
            way: target.way,
        };
        world.register(session);
        let until = clock::now() + between(random, LIFE.0, LIFE.1);
        Ok(Some(Self {
            world,
            client,
            target,
            session,
            began,
            until,
        }))
    }

    /// Says something; false when it is over.
    fn goes_on(&mut self, random: &mut PseudoRandom) -> bool {
        let result = self.client.exchange(&random_line(random));
        let result = result.map_err(|error| {
            let ends = [self.target.role, Role::Internet];
            error.context(self.world.evidence(ends, self.session.client.port()))
        });
        let works = result.is_ok();
        let ends = !works || clock::now() >= self.until || self.world.ledger.is_stopped();
        if ends {
            let result = result.with_context(|| {
                let age = self.began.elapsed().as_secs_f64();
                format!(
                    "{}, {:?}, after {age:.1} s",
                    describe(&self.target),
                    self.session
                )
            });
            let way = Some(self.target.way);
            self.world.ledger.judge("session", way, self.began, result);
        }
        !ends
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.world.deregister(self.session);
    }
}

fn describe(target: &Target) -> String {
    format!("{} to {}", target.role.name(), target.server)
}

/// A worker, until the soak ends: one connection after the other.
pub(super) fn work(world: &World, seed: u64) {
    let mut random = PseudoRandom::seeded(seed);
    while !world.ledger.is_stopped() {
        if let Ok(Some(mut session)) = Held::open(world, &mut random) {
            while session.goes_on(&mut random) {
                world.ledger.pause(between(&mut random, REST.0, REST.1));
            }
        }
        world.ledger.pause(between(&mut random, REST.0, REST.1));
    }
}
