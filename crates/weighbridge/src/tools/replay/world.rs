//! The box that a capture is replayed on: its interfaces, which a log may add to, and its routes.

use pf_engine::env::{Env, FixedEnv, IfIndex, Interface};

use crate::tools::interfaces::Route;

/// Interfaces that a capture may name beside those that are known.
pub(super) const LEARNED_MAX: u64 = 64;

/// What the engine sees of it.
#[derive(Debug)]
pub(super) struct World {
    /// As the engine wants it.
    pub(super) env: FixedEnv,
    routes: Vec<Route>,
    learned: u64,
}

impl World {
    /// `routes` name interfaces that are there.
    pub(super) fn new(interfaces: Vec<Interface>, routes: Vec<Route>) -> Self {
        Self {
            env: with_routes(interfaces, &routes, 0),
            routes,
            learned: 0,
        }
    }

    /// The interface of that name, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<IfIndex> {
        Some(self.env.interface_named(name)?.index)
    }

    /// Adds an interface; nothing when there are too many.
    pub(super) fn learn(&mut self, name: &str) -> Option<IfIndex> {
        if self.learned >= LEARNED_MAX {
            return None;
        }
        self.learned += 1;
        let mut interfaces = self.env.interfaces().to_vec();
        let highest = interfaces.iter().map(|interface| interface.index.0).max();
        let index = IfIndex(highest.unwrap_or(0).checked_add(1)?);
        interfaces.push(Interface::new(index, name));
        self.env = with_routes(interfaces, &self.routes, self.learned);
        Some(index)
    }

    /// Name of an interface.
    pub(super) fn name(&self, index: IfIndex) -> String {
        let interface = self.env.interface(index);
        interface.map_or_else(|| "?".to_owned(), |interface| interface.name.clone())
    }
}

fn with_routes(interfaces: Vec<Interface>, routes: &[Route], seed: u64) -> FixedEnv {
    let env = FixedEnv::new(interfaces, seed);
    crate::tools::interfaces::add_routes(env, routes)
}
