//! The packet filter against a model of it that is small enough to be read: random rulesets are
//! written as pf.conf, loaded, and met by random packets. After every step verdict, bytes on the
//! wire, states and the counters of all rules, states and tables are those of the model, which
//! knows pf.conf(5) and nothing of the engine.
//!
//! `PROPTEST_CASES=100000 cargo test -p pf-conf --test model --release` looks longer.

#[cfg(test)]
mod model {
    mod compare;
    mod generate;
    mod language;
    mod rules;
    mod segment;
    mod sequence;
    mod states;
    mod translation;
    mod verdict;
    mod write;
}
