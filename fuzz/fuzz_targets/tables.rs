//! libFuzzer entry of [`weighbridge_fuzz::tables`]: `cargo +nightly fuzz run --features libfuzzer tables`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::tables(data));
