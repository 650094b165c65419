//! libFuzzer entry of [`weighbridge_fuzz::language`]: `cargo +nightly fuzz run --features libfuzzer language`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::language(data));
