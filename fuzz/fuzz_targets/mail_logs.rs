//! libFuzzer entry of [`weighbridge_fuzz::mail_logs`]: `cargo +nightly fuzz run --features libfuzzer mail_logs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weighbridge_fuzz::mail_logs(data));
