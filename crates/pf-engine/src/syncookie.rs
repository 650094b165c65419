//! `set syncookies`: a SYN is answered without remembering it; what must be known later is in the
//! sequence number of the answer (pf.conf(5), `set syncookies`; RFC 4987, section 3.6).
//!
//! The number is a keyed hash (SipHash-2-4) over addresses, ports and the client's number, whose
//! lowest four bits carry, masked, which of the two secrets was used and the class of the
//! client's segment size. Neither window scale nor SACK nor timestamps need a place in it: the
//! proxy offers none.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::key::Tuple;
use crate::ruleset::Syncookies;
use crate::time::Instant;

/// How long a secret is used for new cookies; it is good for old ones as long again (PF's
/// `PF_SYNCOOKIE_SECRET_LIFETIME`).
const SECRET_LIFETIME: Duration = Duration::from_secs(15);
/// Age at which a secret is good for nothing.
const SECRET_END: Duration = Duration::from_secs(30);
/// Segment sizes that a cookie can carry: the largest that does not exceed the client's is
/// taken. Ethernet's with IPv4 and IPv6, with the headers of `PPPoE` and of tunnels, then the
/// minima.
const SIZES: [u16; 8] = [216, 536, 1220, 1360, 1400, 1440, 1452, 1460];
/// The bits of a cookie that say something.
const SAYING: u32 = 0xf;

/// Secrets, and what was done with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SynCookies {
    /// The one whose number is `current` is used for new cookies.
    secrets: [Option<Secret>; 2],
    current: usize,
    active: bool,
    counters: Counters,
}

/// What `pfctl -vsi` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) floods: u64,
    pub(crate) sent: u64,
    pub(crate) validated: u64,
}

#[derive(Clone, Copy, Debug)]
struct Secret {
    key: [u64; 2],
    drawn: Instant,
    /// Cookies of which no state was made yet.
    in_flight: u64,
}

/// A cookie that has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    secret: usize,
    /// Segment size of the client, rounded down.
    pub(crate) mss: u16,
}

/// How full the state table is of connections that are not established.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) half_open: usize,
    /// `set limit states`; 0 is no limit.
    pub(crate) limit: u32,
}

impl Load {
    /// States that are `percent` of the limit.
    fn mark(self, percent: u8) -> usize {
        if self.limit == 0 {
            return usize::MAX;
        }
        let states = u64::from(self.limit).saturating_mul(u64::from(percent)) / 100;
        usize::try_from(states).unwrap_or(usize::MAX)
    }
}

impl SynCookies {
    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) const fn clear_counters(&mut self) {
        self.counters = Counters {
            floods: 0,
            sent: 0,
            validated: 0,
        };
    }

    /// Whether SYNs are answered with cookies.
    pub(crate) const fn is_active(&self, mode: Syncookies) -> bool {
        match mode {
            Syncookies::Never => false,
            Syncookies::Always => true,
            Syncookies::Adaptive { .. } => self.active,
        }
    }

    /// As [`SynCookies::is_active`]; in adaptive mode it begins above the one mark and ends when
    /// half-open states and cookies under way are no more than the other.
    pub(crate) fn check(&mut self, now: Instant, mode: Syncookies, load: Load) -> bool {
        let Syncookies::Adaptive { start, end } = mode else {
            self.active = false;
            return self.is_active(mode);
        };
        if self.active {
            let in_flight = usize::try_from(self.in_flight(now)).unwrap_or(usize::MAX);
            self.active = load.half_open.saturating_add(in_flight) > load.mark(end);
        } else if load.half_open > load.mark(start) {
            self.active = true;
            self.counters.floods = self.counters.floods.wrapping_add(1);
        }
        self.active
    }

    fn in_flight(&self, now: Instant) -> u64 {
        let live = self.secrets.iter().flatten();
        live.filter(|secret| secret.is_good(now))
            .map(|secret| secret.in_flight)
            .fold(0, u64::saturating_add)
    }

    /// The cookie for a SYN with the number `client`.
    pub(crate) fn bake(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        client: u32,
        mss: u16,
        random: &mut dyn FnMut() -> u32,
    ) -> u32 {
        let current = self.rotate(now, random);
        let size = SIZES.iter().rposition(|size| *size <= mss).unwrap_or(0);
        let saying = size.wrapping_shl(1) | self.current;
        let saying = u32::try_from(saying).unwrap_or(0) & SAYING;
        self.counters.sent = self.counters.sent.wrapping_add(1);
        number(current, tuple, client, saying)
    }

    /// The key for new cookies, a new one if it is time.
    fn rotate(&mut self, now: Instant, random: &mut dyn FnMut() -> u32) -> [u64; 2] {
        let fresh = |secret: &Secret| now.saturating_since(secret.drawn) < SECRET_LIFETIME;
        let current = self.secrets.get(self.current).copied().flatten();
        let mut secret = if let Some(secret) = current.filter(fresh) {
            secret
        } else {
            self.current ^= 1;
            Secret::draw(now, random)
        };
        secret.in_flight = secret.in_flight.saturating_add(1);
        if let Some(place) = self.secrets.get_mut(self.current) {
            *place = Some(secret);
        }
        secret.key
    }

    /// Whether `own` is a cookie that was sent to a client with the number `client`.
    pub(crate) fn verify(
        &self,
        now: Instant,
        mode: Syncookies,
        tuple: &Tuple,
        client: u32,
        own: u32,
    ) -> Option<Cookie> {
        if mode == Syncookies::Never {
            return None;
        }
        (0..self.secrets.len()).find_map(|place| {
            let secret = self.secrets.get(place)?.as_ref()?;
            if secret.in_flight == 0 || !secret.is_good(now) {
                return None;
            }
            let saying = said(secret.key, tuple, client, own);
            let size = usize::try_from(saying >> 1).ok()?;
            let names_it = usize::try_from(saying & 1).ok()? == place;
            let genuine = number(secret.key, tuple, client, saying) == own;
            (names_it && genuine).then_some(Cookie {
                secret: place,
                mss: *SIZES.get(size)?,
            })
        })
    }

    /// A cookie has come back. Who is blocked brings his again and again.
    pub(crate) const fn count_validated(&mut self) {
        self.counters.validated = self.counters.validated.wrapping_add(1);
    }

    /// A state is made of a cookie.
    pub(crate) fn redeem(&mut self, cookie: Cookie) {
        if let Some(Some(secret)) = self.secrets.get_mut(cookie.secret) {
            secret.in_flight = secret.in_flight.saturating_sub(1);
        }
    }
}

impl Secret {
    fn draw(now: Instant, random: &mut dyn FnMut() -> u32) -> Self {
        let mut word = || u64::from(random()) << 32 | u64::from(random());
        Self {
            key: [word(), word()],
            drawn: now,
            in_flight: 0,
        }
    }

    fn is_good(&self, now: Instant) -> bool {
        now.saturating_since(self.drawn) < SECRET_END
    }
}

/// The cookie that says `saying`: bound to it by the upper bits, and masked by more of the hash.
fn number(key: [u64; 2], tuple: &Tuple, client: u32, saying: u32) -> u32 {
    let mask = low_word(hash(key, tuple, client, None));
    let bound = low_word(hash(key, tuple, client, Some(saying)));
    (bound & !SAYING) | ((saying ^ mask) & SAYING)
}

/// What the cookie `own` would say, were it genuine.
fn said(key: [u64; 2], tuple: &Tuple, client: u32, own: u32) -> u32 {
    (own ^ low_word(hash(key, tuple, client, None))) & SAYING
}

fn low_word(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

fn hash([a, b]: [u64; 2], tuple: &Tuple, client: u32, saying: Option<u32>) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(a, b);
    for end in [tuple.source, tuple.destination] {
        match end.address {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.write(&end.port.to_be_bytes());
    }
    hasher.write(&client.to_be_bytes());
    if let Some(saying) = saying {
        hasher.write(&saying.to_be_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Protocol;
    use crate::view::HostPort;

    const ALWAYS: Syncookies = Syncookies::Always;

    fn tuple(port: u16) -> Tuple {
        let host = |last, port| HostPort {
            address: IpAddr::from([192, 0, 2, last]),
            port,
        };
        Tuple {
            source: host(1, port),
            destination: host(2, 80),
            protocol: Protocol::TCP,
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    /// A generator that repeats nothing.
    fn numbers() -> impl FnMut() -> u32 {
        let mut last = 7u32;
        move || {
            last = last.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            last
        }
    }

    #[test]
    fn a_cookie_that_comes_back_tells_the_segment_size() {
        for (mss, told) in [
            (0, 216),
            (536, 536),
            (1300, 1220),
            (1460, 1460),
            (9000, 1460),
        ] {
            let mut cookies = SynCookies::default();
            let own = cookies.bake(at(1), &tuple(5), 99, mss, &mut numbers());
            let cookie = cookies.verify(at(2), ALWAYS, &tuple(5), 99, own);
            assert_eq!(cookie.map(|cookie| cookie.mss), Some(told));
        }
    }

    #[test]
    fn a_cookie_is_good_for_its_own_connection_only_and_not_for_long() {
        let mut cookies = SynCookies::default();
        let own = cookies.bake(at(1), &tuple(5), 99, 1460, &mut numbers());
        let verify = |when, port, client, own| {
            cookies
                .verify(at(when), ALWAYS, &tuple(port), client, own)
                .is_some()
        };
        assert!(verify(30, 5, 99, own));
        assert!(!verify(31, 5, 99, own), "after two lives of a secret");
        assert!(!verify(2, 6, 99, own), "another port");
        assert!(!verify(2, 5, 98, own), "another number of the client's");
        for bit in 0..32 {
            assert!(!verify(2, 5, 99, own ^ (1 << bit)), "bit {bit}");
        }
        let never = cookies.verify(at(2), Syncookies::Never, &tuple(5), 99, own);
        assert_eq!(never, None);
    }

    #[test]
    fn the_secret_before_is_good_as_long_again_and_a_third_replaces_it() {
        let mut random = numbers();
        let mut cookies = SynCookies::default();
        let first = cookies.bake(at(0), &tuple(5), 99, 1460, &mut random);
        let second = cookies.bake(at(16), &tuple(5), 99, 1460, &mut random);
        assert_ne!(first, second);
        for own in [first, second] {
            assert!(cookies.verify(at(17), ALWAYS, &tuple(5), 99, own).is_some());
        }
        let _ = cookies.bake(at(31), &tuple(5), 99, 1460, &mut random);
        assert_eq!(cookies.verify(at(31), ALWAYS, &tuple(5), 99, first), None);
        assert!(
            cookies
                .verify(at(31), ALWAYS, &tuple(5), 99, second)
                .is_some()
        );
    }

    #[test]
    fn as_many_states_are_made_as_cookies_were_sent() {
        let mut cookies = SynCookies::default();
        let own = cookies.bake(at(1), &tuple(5), 99, 1460, &mut numbers());
        let cookie = cookies.verify(at(1), ALWAYS, &tuple(5), 99, own).unwrap();
        cookies.count_validated();
        cookies.redeem(cookie);
        assert_eq!(cookies.verify(at(1), ALWAYS, &tuple(5), 99, own), None);
        let counted = cookies.counters();
        assert_eq!((counted.sent, counted.validated), (1, 1));
    }

    #[test]
    fn adaptive_cookies_begin_above_one_mark_and_end_at_the_other() {
        let mode = Syncookies::Adaptive { start: 10, end: 5 };
        let load = |half_open| Load {
            half_open,
            limit: 100,
        };
        let mut cookies = SynCookies::default();
        assert!(!cookies.check(at(1), mode, load(10)));
        assert!(cookies.check(at(1), mode, load(11)));
        let _ = cookies.bake(at(1), &tuple(5), 99, 1460, &mut numbers());
        assert!(cookies.check(at(2), mode, load(6)));
        assert!(cookies.check(at(2), mode, load(5)), "one is under way");
        assert!(!cookies.check(at(40), mode, load(5)));
        assert_eq!(cookies.counters().floods, 1);
        let unlimited = Load {
            half_open: 1 << 40,
            limit: 0,
        };
        assert!(!cookies.check(at(40), mode, unlimited));
    }
}
