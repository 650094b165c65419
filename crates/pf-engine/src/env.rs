//! What the engine needs from outside, through one narrow trait.

use std::net::IpAddr;

use crate::addr::Family;

/// The kernel's interface number. Never reused while the engine knows the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

/// An interface as PF sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: IfIndex,
    /// Its name, as in rules.
    pub name: String,
    /// Groups it belongs to; its name without the number is always one (`em` of `em0`).
    pub groups: Vec<String>,
    /// Largest IP packet that leaves by it, in bytes.
    pub mtu: u32,
    /// Addresses in the order they were configured. A bridge port has those that its
    /// start-up file gave it, although Linux keeps them on the bridge.
    pub addresses: Vec<InterfaceAddress>,
    /// Whether it loops back (`lo`).
    pub loopback: bool,
    /// Its Ethernet address, if it has one: tells frames for the box from those it bridges.
    pub mac: Option<[u8; 6]>,
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the attached network's prefix.
    pub prefix_len: u8,
    /// Broadcast address of the attached network.
    pub broadcast: Option<IpAddr>,
    /// Far end of a point-to-point link.
    pub peer: Option<IpAddr>,
}

impl InterfaceAddress {
    /// The family of the address.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }
}

/// Answer to a route look-up (`no-route`, `urpf-failed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteLookup {
    /// Nobody can tell: rules that ask do not match.
    Unknown,
    /// There is no route.
    Unreachable,
    /// By this interface.
    Via(IfIndex),
}

/// The outside world, as far as a decision may depend on it.
pub trait Env {
    /// A random number that an attacker cannot predict.
    fn random(&mut self) -> u32;

    /// The interface with this number.
    fn interface(&self, index: IfIndex) -> Option<&Interface>;

    /// The interface with this name.
    fn interface_named(&self, name: &str) -> Option<&Interface>;

    /// All interfaces, ordered by number.
    fn interfaces(&self) -> &[Interface];

    /// The kernel's route to `destination`.
    fn route(&self, destination: IpAddr) -> RouteLookup {
        let _ = destination;
        RouteLookup::Unknown
    }
}

/// A fixed set of interfaces and a seeded generator: for tests, replay and the fuzzer.
#[derive(Clone, Debug)]
pub struct FixedEnv {
    interfaces: Vec<Interface>,
    seed: u64,
}

impl FixedEnv {
    /// `interfaces` in any order; the numbers drawn depend only on `seed`.
    #[must_use]
    pub fn new(mut interfaces: Vec<Interface>, seed: u64) -> Self {
        interfaces.sort_by_key(|interface| interface.index);
        Self { interfaces, seed }
    }
}

impl Env for FixedEnv {
    /// `SplitMix64`, upper half: good enough for tests, not for a live box.
    fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default()
    }

    fn interface(&self, index: IfIndex) -> Option<&Interface> {
        let at = self
            .interfaces
            .binary_search_by_key(&index, |i| i.index)
            .ok()?;
        self.interfaces.get(at)
    }

    fn interface_named(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }
}
