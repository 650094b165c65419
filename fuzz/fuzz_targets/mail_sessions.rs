//! libFuzzer entry of [`weighbridge_fuzz::mail_sessions`]: `cargo +nightly fuzz run --features libfuzzer mail_sessions`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::mail_sessions(data));
